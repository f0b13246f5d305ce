// Sends the chosen or dropped files with a progress bar, the rate and the time left; the plain form works without.
// A form with data-upload="wait" is sent by its button, with what else it holds; any other as soon as a file is chosen.
(() => {
  const locale = document.documentElement.lang;
  const number = (value, digits) =>
    new Intl.NumberFormat(locale, { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value);
  const megabytes = (bytes) => number(bytes / 1e6, 1);

  const LOOK_MS = 2000;

  const setUp = (form) => {
    const input = form.querySelector("input[type=file]");
    const zone = form.querySelector(".drop");
    const panel = form.querySelector(".transfer");
    const [name, bar, state] = ["b", "progress", "[role=status]"].map((part) => panel.querySelector(part));
    const problem = form.querySelector(".notice");
    const cancel = panel.querySelector("[data-cancel]");
    const retry = form.querySelector("[data-retry]");
    const text = form.dataset;
    const fill = (sentence, values) => sentence.replace(/\{(\w+)\}/g, (_, key) => values[key]);
    const waits = text.upload === "wait";
    const button = form.querySelector("[data-send]");
    let request = null;
    let looking = null;
    let files = [];
    const called = () => (files.length === 1 ? files[0].name : fill(text.several, { count: number(files.length, 0) }));

    // A file that was refused would be refused again: only a transfer that broke off is worth another try.
    const fail = (message, again) => {
      request = null;
      clearInterval(looking);
      panel.hidden = true;
      zone.hidden = false;
      if (button) button.hidden = false;
      problem.hidden = false;
      retry.parentElement.hidden = !again;
      input.value = "";
      problem.querySelector("b").textContent = called();
      problem.querySelector("[data-message]").textContent = message;
      problem.tabIndex = -1;
      problem.focus();
    };

    const send = (chosen) => {
      if (!chosen.length || request) return;
      files = [...chosen];
      const [most, size] = [Number(text.maxBytes), files.reduce((sum, file) => sum + file.size, 0)];
      if (most && size > most) {
        fail(fill(text.tooLarge, { size: megabytes(size), most: megabytes(most) }), false);
        return;
      }
      const body = new FormData(form);
      body.delete("file");
      for (const file of files) body.append("file", file);
      problem.hidden = true;
      zone.hidden = true;
      if (button) button.hidden = true;
      panel.hidden = false;
      name.textContent = called();
      bar.value = 0;
      state.textContent = text.starting;
      let [begun, before, loaded, seen] = [performance.now(), 0, 0, -1];
      const id = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
      request = new XMLHttpRequest();
      request.open("POST", form.action);
      request.setRequestHeader("Accept", "application/json");
      request.setRequestHeader("Upload-Id", id);
      // Where nothing moves, others may come first: the server says how many. It reads no more until then.
      looking = setInterval(async () => {
        const still = loaded === seen;
        seen = loaded;
        if (!still) return;
        const answer = await fetch(`/api/uploads/${id}`, { headers: { Accept: "application/json" } }).catch(() => null);
        const { ahead } = answer?.ok ? await answer.json() : {};
        if (ahead === undefined || loaded !== seen) return;
        if (ahead) state.textContent = fill(text.waiting, { ahead: number(ahead, 0) });
        else if (bar.value === bar.max) state.textContent = text.storing;
        [begun, before] = [performance.now(), loaded];
      }, LOOK_MS);
      request.upload.onprogress = (event) => {
        loaded = event.loaded;
        const seconds = (performance.now() - begun) / 1000;
        const rate = (event.loaded - before) / Math.max(seconds, 0.001);
        bar.max = event.total;
        bar.value = event.loaded;
        state.textContent = event.loaded === event.total ? text.storing : fill(text.sending, {
          done: megabytes(event.loaded),
          total: megabytes(event.total),
          rate: megabytes(rate),
          left: number(Math.max(1, Math.ceil((event.total - event.loaded) / rate)), 0),
        });
      };
      request.onload = () => {
        clearInterval(looking);
        const answer = read(request.responseText);
        if (request.status < 300 && answer.location) location.assign(answer.location);
        else if (request.status === 401) location.assign("/sign-in");
        else fail(answer.error?.message ?? text.failed, request.status >= 500);
      };
      request.onerror = () => fail(text.lost, true);
      request.onabort = () => fail(text.cancelled, true);
      request.send(body);
    };

    const read = (body) => {
      try {
        return JSON.parse(body);
      } catch {
        return {};
      }
    };

    input.addEventListener("change", () => waits || send(input.files));
    form.addEventListener("submit", (event) => {
      if (!input.files.length) return;
      event.preventDefault();
      send(input.files);
    });
    cancel.addEventListener("click", () => request?.abort());
    retry.addEventListener("click", () => send(files));
    for (const kind of ["dragover", "dragenter"]) {
      zone.addEventListener(kind, (event) => {
        event.preventDefault();
        zone.classList.add("is-over");
      });
    }
    for (const kind of ["dragleave", "drop"]) {
      zone.addEventListener(kind, () => zone.classList.remove("is-over"));
    }
    zone.addEventListener("drop", (event) => {
      event.preventDefault();
      if (waits) input.files = event.dataTransfer.files;
      else send([...event.dataTransfer.files].slice(0, 1));
    });
    form.dataset.ready = "true";
  };

  addEventListener("DOMContentLoaded", () => document.querySelectorAll("form[data-upload]").forEach(setUp));
})();

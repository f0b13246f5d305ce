// Sends the chosen or dropped file with a progress bar, its rate and the time left; the plain form works without.
(() => {
  const locale = document.documentElement.lang;
  const number = (value, digits) =>
    new Intl.NumberFormat(locale, { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value);
  const megabytes = (bytes) => number(bytes / 1e6, 1);

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
    let request = null;
    let file = null;

    // A file that was refused would be refused again: only a transfer that broke off is worth another try.
    const fail = (message, again) => {
      request = null;
      panel.hidden = true;
      zone.hidden = false;
      problem.hidden = false;
      retry.parentElement.hidden = !again;
      input.value = "";
      problem.querySelector("b").textContent = file.name;
      problem.querySelector("[data-message]").textContent = message;
      problem.tabIndex = -1;
      problem.focus();
    };

    const send = (chosen) => {
      if (!chosen || request) return;
      file = chosen;
      const most = Number(text.maxBytes);
      if (most && file.size > most) {
        fail(fill(text.tooLarge, { size: megabytes(file.size), most: megabytes(most) }), false);
        return;
      }
      problem.hidden = true;
      zone.hidden = true;
      panel.hidden = false;
      name.textContent = file.name;
      bar.value = 0;
      state.textContent = text.starting;
      const begun = performance.now();
      const body = new FormData();
      body.append("file", file);
      request = new XMLHttpRequest();
      request.open("POST", form.action);
      request.setRequestHeader("Accept", "application/json");
      request.upload.onprogress = (event) => {
        const seconds = (performance.now() - begun) / 1000;
        const rate = event.loaded / Math.max(seconds, 0.001);
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

    input.addEventListener("change", () => send(input.files[0]));
    form.addEventListener("submit", (event) => {
      if (!input.files[0]) return;
      event.preventDefault();
      send(input.files[0]);
    });
    cancel.addEventListener("click", () => request?.abort());
    retry.addEventListener("click", () => send(file));
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
      send(event.dataTransfer.files[0]);
    });
    form.dataset.ready = "true";
  };

  addEventListener("DOMContentLoaded", () => document.querySelectorAll("form[data-upload]").forEach(setUp));
})();

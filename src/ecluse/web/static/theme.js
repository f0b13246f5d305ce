// Light, dark or as the system says; remembered by a cookie that the server reads, so that no page flashes.
(() => {
  const root = document.documentElement;
  const remember = (name, value) => {
    document.cookie = `${name}=${value}; path=/; max-age=31536000; samesite=lax`;
  };
  const show = (theme) => {
    if (theme === "system") delete root.dataset.theme;
    else root.dataset.theme = theme;
    for (const link of document.querySelectorAll("[data-set-theme]")) {
      if (link.dataset.setTheme === theme) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
    document.dispatchEvent(new CustomEvent("themechange"));
  };

  // What draws on a canvas reads neither oklch() nor light-dark(): paint the token on one pixel and read it back.
  const probe = document.createElement("span");
  const pixel = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  window.tokenColour = (token) => {
    if (!probe.isConnected) {
      probe.hidden = true;
      document.body.append(probe);
    }
    probe.style.color = `var(${token})`;
    pixel.clearRect(0, 0, 1, 1);
    pixel.fillStyle = getComputedStyle(probe).color;
    pixel.fillRect(0, 0, 1, 1);
    const [r, g, b] = pixel.getImageData(0, 0, 1, 1).data;
    return `rgb(${r}, ${g}, ${b})`;
  };

  remember("zone", Intl.DateTimeFormat().resolvedOptions().timeZone || "");

  document.addEventListener("click", (event) => {
    const link = event.target.closest("[data-set-theme]");
    if (link) {
      event.preventDefault();
      remember("theme", link.dataset.setTheme);
      show(link.dataset.setTheme);
      return;
    }
    const open = event.target.closest("[data-dialog]");
    const dialog = open && document.getElementById(open.dataset.dialog);
    if (dialog) {
      event.preventDefault();
      dialog.showModal();
    }
    const copy = event.target.closest("[data-copy]");
    if (copy) {
      navigator.clipboard.writeText(copy.dataset.copy).then(() => {
        copy.textContent = copy.dataset.copied;
      });
    }
    const menu = document.querySelector(".tabbar details[open]");
    if (menu && !menu.contains(event.target)) menu.open = false;
  });

  // A page that no one sees asks for nothing; when it is seen again, it asks at once.
  document.addEventListener("every", (event) => document.hidden && event.stopImmediatePropagation(), true);
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    for (const part of document.querySelectorAll("[hx-trigger^=every]")) part.dispatchEvent(new CustomEvent("every"));
  });

  // A range or a select that belongs to a GET form applies itself; without scripts its button does.
  document.addEventListener("change", (event) => {
    if (event.target.closest("form[data-live]")) event.target.form.requestSubmit();
  });
  document.addEventListener("input", (event) => {
    const output = event.target.id && document.querySelector(`output[for="${event.target.id}"]`);
    if (output) output.textContent = event.target.value;
  });

  // htmx: what could not be reached is said once, with a way to try again.
  document.addEventListener("htmx:error", (event) => {
    if (event.detail?.ctx?.response) return; // it answered: the answer says what is wrong
    const toast = document.getElementById("network-toast");
    if (toast) toast.hidden = false;
  });
  document.addEventListener("htmx:after:swap", (event) => {
    const toast = document.getElementById("network-toast");
    if (toast) toast.hidden = true;
    const notices = document.getElementById("notices");
    if (notices && event.detail?.ctx?.target !== notices && event.detail?.ctx?.target !== "#notices") notices.replaceChildren();
  });

  // A form is sent once: its button rests until the answer, or until one comes back to the page.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method !== "post" || form.dataset.upload !== undefined) return;
    setTimeout(() => {
      for (const button of form.querySelectorAll("button")) button.disabled = true;
    });
  });
  addEventListener("pageshow", () => {
    for (const button of document.querySelectorAll("form button:disabled")) button.disabled = false;
  });
  // An error after a form comes first for everyone: focus moves to it.
  document.querySelector("[data-focus]")?.focus();
})();

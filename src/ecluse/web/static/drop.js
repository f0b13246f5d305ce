// Files dropped on a form with a drop zone are chosen in it, as if picked by its button; the form is sent by its own
// button. What is dropped beside a zone stays where it was: a browser would leave the page to show the file.
(() => {
  const carriesFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");

  const setUp = (zone) => {
    const input = zone.querySelector("input[type=file]");
    for (const kind of ["dragenter", "dragover"]) {
      zone.addEventListener(kind, (event) => {
        if (!carriesFiles(event)) return;
        event.preventDefault();
        event.dataTransfer.dropEffect = "copy";
        zone.classList.add("is-over");
      });
    }
    zone.addEventListener("dragleave", () => zone.classList.remove("is-over"));
    zone.addEventListener("drop", (event) => {
      zone.classList.remove("is-over");
      if (!carriesFiles(event)) return;
      event.preventDefault();
      const chosen = new DataTransfer();
      const dropped = [...event.dataTransfer.files];
      for (const file of input.multiple ? dropped : dropped.slice(0, 1)) chosen.items.add(file);
      if (!chosen.files.length) return;
      input.files = chosen.files;
      input.dispatchEvent(new Event("change", { bubbles: true }));
      (input.form.querySelector("button:not([type=button])") ?? input).focus();
    });
  };

  addEventListener("DOMContentLoaded", () => {
    document.querySelectorAll("form:not([data-upload]) .drop").forEach(setUp);
    for (const kind of ["dragover", "drop"]) {
      addEventListener(kind, (event) => {
        if (!event.defaultPrevented && carriesFiles(event)) {
          event.preventDefault();
          event.dataTransfer.dropEffect = "none";
        }
      });
    }
    document.documentElement.dataset.drops = "true";
  });
})();

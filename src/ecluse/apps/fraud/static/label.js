// Labelling without loading the page again: keys press the buttons, an answer is sent, and the next row takes its place.
(() => {
  const place = () => document.getElementById("labelling");
  const form = () => document.querySelector("form[data-answer]");
  let busy = false;
  let keys = true;

  const setUp = () => {
    const choice = document.querySelector("[data-with-keys]");
    if (!choice) return;
    choice.hidden = false;
    choice.querySelector("input").checked = keys;
  };

  const say = () => {
    const shown = form();
    const said = document.getElementById("label-said");
    if (!shown || !said) return;
    const { row, done, total } = shown.dataset;
    const sentence = row ? said.dataset.said : said.dataset.end;
    said.textContent = sentence.replace("{row}", row).replace("{done}", done).replace("{total}", total);
  };

  const send = async (button) => {
    busy = true;
    tooSoon(false);
    const body = new URLSearchParams(new FormData(form(), button));
    try {
      const answer = await fetch(form().action, { method: "POST", body, headers: { Accept: "text/html" } });
      const next = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("labelling");
      if (!answer.ok || !next) return location.assign(location.href); // what was kept, as the server has it
      const open = place().querySelector("details")?.open ?? false;
      const pressed = document.activeElement?.dataset?.key;
      place().replaceWith(document.importNode(next, true));
      history.replaceState(history.state, "", answer.url);
      const answers = place().querySelector("details");
      if (answers) answers.open = open;
      setUp();
      const again = pressed && place().querySelector(`[data-key="${pressed}"]:not(:disabled)`);
      (again || form()?.querySelector("h2"))?.focus({ preventScroll: true });
      say();
      const toast = document.getElementById("network-toast");
      if (toast) toast.hidden = true;
    } catch {
      const toast = document.getElementById("network-toast");
      if (toast) toast.hidden = false;
    } finally {
      busy = false;
    }
  };

  // An answer for a row that nobody has seen yet is not taken: say so.
  const tooSoon = (so) => {
    const shown = document.getElementById("label-soon");
    if (shown) shown.hidden = !so;
  };

  document.addEventListener("submit", (event) => {
    if (event.target !== form() || !event.submitter?.dataset.key) return;
    event.preventDefault();
    event.stopImmediatePropagation(); // its buttons do not rest: the next row needs them
    if (busy) tooSoon(true);
    else send(event.submitter);
  }, true);

  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-keys]")) keys = event.target.checked;
  });

  document.addEventListener("keydown", (event) => {
    if (!keys || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (event.target.closest("input:not([type=checkbox]), select, textarea, dialog")) return;
    const button = form()?.querySelector(`[data-key="${event.key.toLowerCase()}"]:not(:disabled)`);
    if (!button) return;
    event.preventDefault();
    button.click();
  });

  addEventListener("DOMContentLoaded", setUp);
})();

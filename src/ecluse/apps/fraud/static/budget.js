// The alert budget: the slider and the number move together. What the server wrote for each step of the slider shows at
// once; of a number between two steps it is asked what exactly so many rows hold.
(() => {
  const setUp = (form) => {
    const steps = JSON.parse(document.getElementById(form.dataset.budget).textContent);
    const number = form.querySelector("[type=number]");
    const range = form.querySelector("[type=range]");
    const kept = Number(form.dataset.kept);
    const said = form.querySelector("[data-said]");
    let asked; // ends the question of a number that is no longer wanted

    const nearest = (rows) => {
      const beyond = steps.findIndex((step) => step.alerts > rows);
      return beyond === -1 ? steps.length - 1 : Math.max(beyond - 1, 0);
    };

    const tell = (figures) => {
      for (const place of form.querySelectorAll("[data-told]")) {
        place.textContent = figures[place.dataset.told] || place.dataset.empty || "";
      }
      form.removeAttribute("aria-busy");
      said.dataset.now = said.dataset.said.replace("{flagged}", figures.flagged).replace("{cut}", figures.cut);
    };

    const ask = async (rows) => {
      const { signal } = (asked = new AbortController());
      form.setAttribute("aria-busy", "true");
      try {
        await new Promise((later) => setTimeout(later, 150)); // while more digits are typed
        if (signal.aborted) return;
        const answer = await fetch(`${form.dataset.exact}?budget=${rows}`, { signal });
        if (!answer.ok) throw new Error(`${answer.status}`);
        tell(await answer.json());
        said.textContent = said.dataset.now;
      } catch (error) {
        if (signal.aborted) return;
        location.assign(addressOf(rows)); // the page says what is wrong, or shows the figures
      }
    };

    const addressOf = (rows) => {
      const address = new URL(location.href);
      address.searchParams.set("budget", rows);
      return address;
    };

    const show = (rows) => {
      const step = steps[Number(range.value)];
      asked?.abort();
      if (step.alerts === rows || !form.dataset.exact) tell(step);
      else ask(rows);
      range.setAttribute("aria-valuetext", step.flagged);
      for (const row of document.querySelectorAll("[data-rank]")) row.hidden = Number(row.dataset.rank) > rows;
      for (const place of document.querySelectorAll("[data-shown]")) place.textContent = Math.min(rows, kept);
    };

    const remember = () => {
      if (!number.validity.valid) return;
      if (!form.hasAttribute("aria-busy")) said.textContent = said.dataset.now ?? "";
      history.replaceState(history.state, "", addressOf(number.value));
    };

    range.addEventListener("input", () => {
      number.value = steps[Number(range.value)].alerts;
      show(Number(number.value));
    });
    number.addEventListener("input", () => {
      if (!number.validity.valid) return;
      range.value = nearest(Number(number.value));
      show(Number(number.value));
    });
    range.addEventListener("change", remember);
    number.addEventListener("change", remember);
    form.addEventListener("submit", (event) => {
      if (!event.submitter?.hasAttribute("formaction")) event.preventDefault(); // Enter: it is shown already
    });
    range.hidden = false;
    form.querySelector("[data-apply]").hidden = true;
  };

  addEventListener("DOMContentLoaded", () => document.querySelectorAll("form[data-budget]").forEach(setUp));
})();

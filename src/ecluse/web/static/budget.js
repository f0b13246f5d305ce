// The alert budget: the slider and the number move together, and show at once what the server wrote for each step.
(() => {
  const setUp = (form) => {
    const steps = JSON.parse(document.getElementById(form.dataset.budget).textContent);
    const number = form.querySelector("[type=number]");
    const range = form.querySelector("[type=range]");
    const kept = Number(form.dataset.kept);
    const said = form.querySelector("[data-said]");

    const nearest = (rows) => {
      const beyond = steps.findIndex((step) => step.alerts > rows);
      return beyond === -1 ? steps.length - 1 : Math.max(beyond - 1, 0);
    };

    const show = (rows) => {
      const step = steps[Number(range.value)];
      for (const place of form.querySelectorAll("[data-told]")) {
        place.textContent = step[place.dataset.told] || place.dataset.empty || "";
      }
      range.setAttribute("aria-valuetext", step.flagged);
      for (const row of document.querySelectorAll("[data-rank]")) row.hidden = Number(row.dataset.rank) > rows;
      for (const place of document.querySelectorAll("[data-shown]")) place.textContent = Math.min(rows, kept);
    };

    const remember = () => {
      if (!number.validity.valid) return;
      const step = steps[Number(range.value)];
      said.textContent = said.dataset.said.replace("{flagged}", step.flagged).replace("{cut}", step.cut);
      const address = new URL(location.href);
      address.searchParams.set("budget", number.value);
      history.replaceState(history.state, "", address);
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

// Draws each chart of the page on a canvas from the option its server wrote beside it.
// Strings that begin with "--" are colour tokens of app.css; "@percent" and "@number" are label formats.
(() => {
  const drawn = new Map();
  const locale = document.documentElement.lang;
  const calm = matchMedia("(prefers-reduced-motion: reduce)");

  const grouped = (value, digits, least = 0) =>
    new Intl.NumberFormat(locale, { minimumFractionDigits: least, maximumFractionDigits: digits, useGrouping: "always" })
      .format(value).replace(/[,\u202f](?=\d{3})/g, "\u00a0").replace("-", "\u2212");
  const part = (style, kind) => new Intl.NumberFormat(locale, style).formatToParts(1).find(({ type }) => type === kind).value;
  const units = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"]
    .map((unit) => part({ style: "unit", unit, unitDisplay: "narrow" }, "unit"));
  const leads = new Intl.NumberFormat(locale, { style: "currency", currency: "USD" }).formatToParts(1)[0].type === "currency";
  const sized = (bytes) => {
    const power = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(bytes) / 3));
    return `${grouped(bytes / 1000 ** power, 1)}\u00a0${units[power]}`;
  };
  const dollars = (amount) => {
    const text = grouped(Math.max(amount, amount > 0 ? 0.01 : 0), 2, 2);
    const said = leads ? `$${text}` : `${text}\u00a0$`;
    return amount > 0 && amount < 0.01 ? `<${said}` : said;
  };
  const day = (value) =>
    new Intl.DateTimeFormat(locale === "en" ? "en-GB" : locale, { day: "numeric", month: "short", year: "numeric" }).format(value);
  const formats = {
    "@percent": (value) => `${grouped(Number(value) * 100, 1)}\u00a0%`,
    "@percent-tooltip": (value) => `${grouped(Number(value) * 100, 2)}\u00a0%`,
    "@figure": (value) => new Intl.NumberFormat(locale, { maximumSignificantDigits: 4 }).format(Number(value)).replace("-", "\u2212"),
    "@number": (value) => grouped(Number(value), 2),
    "@percent-label": ({ value }) => `${grouped(Number(value) * 100, 1)}\u00a0%`,
    "@bytes": (value) => sized(Number(value)),
    "@dollars": (value) => dollars(Number(value)),
    "@dollars-label": ({ value }) => dollars(Number(value)),
    "@day": (value) => day(value),
    "@day-label": ({ value }) => day(value),
    "@count": (value) => (value < 1 ? "" : grouped(Number(value), 0)),
  };

  const resolve = (value) => {
    if (typeof value === "string") {
      if (value.startsWith("--")) return tokenColour(value);
      return formats[value] ?? value;
    }
    if (Array.isArray(value)) return value.map(resolve);
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, resolve(part)]));
    }
    return value;
  };

  const draw = (place) => {
    const source = document.getElementById(place.dataset.chart);
    if (!source) return;
    const option = resolve(JSON.parse(source.textContent));
    option.animation = !calm.matches;
    option.animationDuration = 150;
    let chart = drawn.get(place);
    if (!chart) {
      chart = echarts.init(place, null, { renderer: "canvas" });
      drawn.set(place, chart);
      new ResizeObserver(() => chart.resize()).observe(place);
    }
    chart.setOption(option, true);
    place.dataset.drawn = "true";
  };

  const drawAll = () => {
    for (const [place, chart] of drawn) {
      if (!place.isConnected) {
        chart.dispose();
        drawn.delete(place);
      }
    }
    document.querySelectorAll("[data-chart]").forEach(draw);
  };

  // A figure that is drawn anew while work goes on keeps its table unfolded.
  let unfolded = [];
  document.addEventListener("htmx:before:swap", () => {
    unfolded = [...document.querySelectorAll("figure.chart > details[open]")].map((part) => part.parentElement.getAttribute("aria-labelledby"));
  });
  document.addEventListener("htmx:after:swap", () => {
    for (const title of unfolded) document.getElementById(title)?.closest("figure")?.querySelector("details")?.setAttribute("open", "");
  });

  addEventListener("DOMContentLoaded", drawAll);
  document.addEventListener("themechange", drawAll);
  document.addEventListener("htmx:after:swap", drawAll);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
})();

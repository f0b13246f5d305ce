// Draws each chart of the page on a canvas from the option its server wrote beside it.
// Strings that begin with "--" are colour tokens of app.css; "@percent" and "@number" are label formats.
(() => {
  const drawn = new Map();
  const locale = document.documentElement.lang;
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  const probe = document.createElement("span");
  const pixel = document.createElement("canvas").getContext("2d", { willReadFrequently: true });

  // ECharts reads neither oklch() nor light-dark(): paint the token on one pixel and read it back.
  const colour = (token) => {
    probe.style.color = `var(${token})`;
    pixel.clearRect(0, 0, 1, 1);
    pixel.fillStyle = getComputedStyle(probe).color;
    pixel.fillRect(0, 0, 1, 1);
    const [r, g, b] = pixel.getImageData(0, 0, 1, 1).data;
    return `rgb(${r}, ${g}, ${b})`;
  };

  const grouped = (value, digits) =>
    new Intl.NumberFormat(locale, { maximumFractionDigits: digits, useGrouping: "always" })
      .format(value).replace(/[,\u202f](?=\d{3})/g, "\u00a0").replace("-", "\u2212");
  const formats = {
    "@percent": (value) => `${grouped(Number(value) * 100, 1)}\u00a0%`,
    "@percent-tooltip": (value) => `${grouped(Number(value) * 100, 2)}\u00a0%`,
    "@number": (value) => grouped(Number(value), 2),
    "@percent-label": ({ value }) => `${grouped(Number(value) * 100, 1)}\u00a0%`,
    "@count": (value) => (value < 1 ? "" : grouped(Number(value), 0)),
  };

  const resolve = (value) => {
    if (typeof value === "string") {
      if (value.startsWith("--")) return colour(value);
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
    if (!probe.isConnected) {
      probe.hidden = true;
      document.body.append(probe);
    }
    document.querySelectorAll("[data-chart]").forEach(draw);
  };

  addEventListener("DOMContentLoaded", drawAll);
  document.addEventListener("themechange", drawAll);
  document.addEventListener("htmx:after:swap", drawAll);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
})();

// Draws a day's arcs by their state, an hour at a time: the slider, the play button and the keys choose the hour.
// The lines come once and are kept; what changes with the hour is a state of each line, so that nothing is laid
// out again. Without WebGL the server's drawing of the hour stands in the map's place.
const place = document.querySelector("[data-map]");
const canvas = place.querySelector("[data-canvas]");
const slider = place.querySelector("#hour");
const number = place.querySelector("[data-hour-number]");
const told = place.querySelector("#hour-label");
const over = place.querySelector("[data-over]");
const play = place.querySelector("[data-play-button]");
const hours = JSON.parse(document.getElementById("map-hours").textContent);
const pins = JSON.parse(document.getElementById("map-pins").textContent);
const address = place.dataset.place;
// The worse, the wider; drawn from the calmest to the worst. The unknown is dotted, the blocked beaded.
const STATES = [
  { letters: ["i", "-"], token: "--t-inconnu", width: 1.6, dash: [0.6, 2.4] },
  { letters: ["f"], token: "--t-fluide", width: 2 },
  { letters: ["p"], token: "--t-pre", width: 3.5 },
  { letters: ["s"], token: "--t-sature", width: 5.5 },
  { letters: ["b"], token: "--t-bloque", width: 7.5 },
  { letters: ["b"], token: "--sheet", width: 2, dash: [0.8, 2.4] },
];
const NAMES = JSON.parse(document.getElementById("map-states").textContent);
const STEP = 900;

let draw = () => {};
let asked = null;
let timer = null;

const hour = () => Number(slider.value);

// The parts of the page that speak of the hour, as the server writes them.
const refresh = async () => {
  asked?.abort();
  asked = new AbortController();
  const { signal } = asked;
  try {
    const answer = await fetch(`${address}/hour?hour=${hour()}`, { signal, headers: { accept: "text/html" } });
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    const parts = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of parts.querySelectorAll("[id]")) document.getElementById(part.id)?.replaceWith(part);
  } catch (error) {
    if (error.name === "AbortError") return;
    stop();
    document.getElementById("network-toast").hidden = false;
  }
};

const show = (settled) => {
  told.textContent = hours[hour()];
  if (document.activeElement !== number || settled) number.value = slider.value;
  slider.setAttribute("aria-valuetext", hours[hour()]);
  draw(hour());
  if (!settled) return;
  const url = new URL(location.href);
  url.searchParams.set("hour", hour());
  history.replaceState(history.state, "", url);
  refresh();
};

const stop = () => {
  clearInterval(timer);
  timer = null;
  play.querySelector("span").textContent = place.dataset.play;
};

slider.addEventListener("input", () => show(false));
number.hidden = false;
number.addEventListener("change", () => {
  if (number.value !== "") slider.value = number.value;
  show(true);
});
slider.addEventListener("change", () => show(true));
slider.addEventListener("keydown", (event) => {
  const steps = { PageUp: 3, PageDown: -3 }[event.key];
  if (!steps) return;
  event.preventDefault();
  slider.value = hour() + steps;
  show(true);
});
slider.form.addEventListener("submit", (event) => {
  event.preventDefault();
  show(true);
});
play.hidden = false;
play.addEventListener("click", () => {
  if (timer) return stop();
  play.querySelector("span").textContent = place.dataset.pause;
  const onward = () => {
    slider.value = hour() === hours.length - 1 ? 0 : hour() + 1;
    show(true);
  };
  onward();
  timer = setInterval(onward, STEP);
});

const isDark = () => getComputedStyle(document.documentElement).colorScheme.includes("dark")
  && (document.documentElement.dataset.theme === "dark" || matchMedia("(prefers-color-scheme: dark)").matches);

const drawing = () => {
  const image = new Image();
  image.className = "drawing";
  image.alt = place.querySelector("figcaption").textContent;
  canvas.replaceWith(image);
  place.querySelector(".no-webgl").hidden = false;
  over.hidden = true;
  draw = (at) => {
    const theme = document.documentElement.dataset.theme;
    const dark = theme ? theme === "dark" : isDark();
    image.src = `${address}/map.svg?hour=${at}${dark ? "&theme=dark" : ""}`;
  };
  draw(hour());
  place.dataset.drawn = "drawing";
};

const colour = (token) => window.tokenColour(token);
const scaled = (width) => ["interpolate", ["exponential", 1.5], ["zoom"], 10, width * 0.35, 12, width * 0.7, 14, width * 1.4];
const shownFor = (letters) => ["case", ["in", ["coalesce", ["feature-state", "s"], "-"], ["literal", letters]], 1, 0];

// Tiles of another host lie behind everything where the settings name some, greyed so that the states stand out.
const { tiles } = place.dataset;

const style = (arcs, zones) => ({
  version: 8,
  sources: {
    ...(tiles ? { tiles: { type: "raster", tiles: [tiles], tileSize: 256, maxzoom: 19 } } : {}),
    zones: { type: "geojson", data: zones },
    arcs: { type: "geojson", data: arcs },
  },
  layers: [
    { id: "ground", type: "background" },
    ...(tiles ? [{ id: "tiles", type: "raster", source: "tiles", paint: { "raster-saturation": -0.9, "raster-opacity": 0.5 } }] : []),
    { id: "zones", type: "fill", source: "zones", paint: { "fill-opacity": tiles ? 0 : 1 } },
    { id: "outlines", type: "line", source: "zones", paint: { "line-width": 1 } },
    ...STATES.map(({ letters, width, dash }, i) => ({
      id: `state-${i}`,
      type: "line",
      source: "arcs",
      layout: { "line-cap": dash ? "butt" : "round", "line-join": "round" },
      paint: {
        "line-width": scaled(width),
        "line-opacity": shownFor(letters),
        ...(dash ? { "line-dasharray": dash } : {}),
      },
    })),
    { id: "near", type: "line", source: "arcs", paint: { "line-width": 14, "line-opacity": 0 } },
  ],
});

const paint = (map) => {
  map.setPaintProperty("ground", "background-color", colour("--sunk"));
  map.setPaintProperty("zones", "fill-color", colour("--sheet"));
  map.setPaintProperty("outlines", "line-color", colour("--rule"));
  STATES.forEach(({ token }, i) => map.setPaintProperty(`state-${i}`, "line-color", colour(token)));
};

const bounds = (arcs, zones) => {
  const box = [Infinity, Infinity, -Infinity, -Infinity];
  const walk = (part) => {
    if (typeof part[0] !== "number") return part.forEach(walk);
    const [x, y] = part;
    box[0] = Math.min(box[0], x);
    box[1] = Math.min(box[1], y);
    box[2] = Math.max(box[2], x);
    box[3] = Math.max(box[3], y);
  };
  for (const { geometry } of [...arcs.features, ...zones.features]) walk(geometry.coordinates);
  return box;
};

const read = async (path) => {
  const answer = await fetch(path, { headers: { accept: "application/json" } });
  if (!answer.ok) throw new Error(`${path} answered ${answer.status}`);
  return answer.json();
};

const begin = async () => {
  const [library, arcs, zones, day] = await Promise.all([
    import(place.dataset.library),
    read("/city/arcs.geojson"),
    read("/city/zones.geojson"),
    read(`${address}/map.json`),
  ]);
  library.setWorkerUrl(new URL(place.dataset.worker, location.href).href);
  const map = new library.Map({
    container: canvas,
    style: style(arcs, zones),
    bounds: bounds(arcs, zones),
    fitBoundsOptions: { padding: 12 },
    attributionControl: false,
    dragRotate: false,
    pitchWithRotate: false,
    touchPitch: false,
    cooperativeGestures: true,
    fadeDuration: 0,
    maxZoom: 17,
    locale: {
      "Map.Title": place.dataset.title,
      "NavigationControl.ZoomIn": place.dataset.zoomIn,
      "NavigationControl.ZoomOut": place.dataset.zoomOut,
      "CooperativeGesturesHandler.WindowsHelpText": place.dataset.wheel,
      "CooperativeGesturesHandler.MacHelpText": place.dataset.wheelMac,
      "CooperativeGesturesHandler.MobileHelpText": place.dataset.gesture,
    },
  });
  map.touchZoomRotate.disableRotation();
  map.addControl(new library.NavigationControl({ showCompass: false }), "top-right");

  const shown = new Map();
  const markers = pins.map((pin) => {
    const element = document.createElement("span");
    element.className = "pin";
    element.textContent = pin.n;
    element.title = pin.label;
    return { pin, marker: new library.Marker({ element }).setLngLat(pin.at), there: false };
  });
  draw = (at) => {
    day.arc.forEach((id, i) => {
      const s = day.state[i][at] ?? "-";
      if (shown.get(id) === s) return;
      shown.set(id, s);
      map.setFeatureState({ source: "arcs", id }, { s });
    });
    for (const one of markers) {
      const now = one.pin.hours.includes(at);
      if (now && !one.there) {
        one.marker.addTo(map);
        one.marker.getElement().setAttribute("aria-hidden", "true"); // the list beside names the same alerts
      } else if (!now && one.there) one.marker.remove();
      one.there = now;
    }
  };
  map.on("load", () => {
    paint(map);
    draw(hour());
    map.once("idle", () => {
      place.dataset.drawn = "map";
    });
  });
  over.textContent = place.dataset.pick;
  map.on("mousemove", "near", ({ features }) => {
    map.getCanvas().style.cursor = "pointer";
    const [{ id, properties }] = features;
    over.textContent = `${properties.label}${properties.stretch ? ` (${properties.stretch})` : ""} · ${NAMES[shown.get(id) ?? "-"]}`;
  });
  map.on("mouseleave", "near", () => {
    map.getCanvas().style.cursor = "";
    over.textContent = place.dataset.pick;
  });
  map.on("click", "near", ({ features }) => {
    location.href = `/city/arcs/${features[0].id}?date=${place.dataset.date}`;
  });
  const repaint = () => map.isStyleLoaded() && paint(map);
  document.addEventListener("themechange", repaint);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
};

const hasWebGL = () => {
  const context = document.createElement("canvas").getContext("webgl2");
  context?.getExtension("WEBGL_lose_context")?.loseContext();
  return context !== null;
};

if (hasWebGL()) begin().catch((error) => {
  console.error(error);
  drawing();
});
else drawing();

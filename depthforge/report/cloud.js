// Draws one frame as points on a canvas, as seen from a place that dragging, keys and buttons move about its middle.
// Points are drawn by hand into the canvas' pixels, the nearest on top: 70 000 of them take a few milliseconds.
(() => {
  "use strict";
  const canvas = document.getElementById("cloud-canvas");
  if (!canvas) return;
  const data = JSON.parse(document.getElementById("cloud-data").textContent);
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const depths = Object.fromEntries(
    Object.entries(data.depths).map(([name, text]) => [name, new Uint16Array(bytes(text).buffer)]));
  const rgb = data.rgb && bytes(data.rgb);
  const chosen = (name, otherwise) => document.querySelector(`input[name="${name}"]:checked`)?.value ?? otherwise;

  const HOME = { yaw: 0, pitch: 0, distance: 1 };
  const TURN = Math.PI / 24;
  const ZOOM = 1.15;
  // At first a little from aside: seen from where the camera was, points look like a picture.
  const view = { yaw: -0.45, pitch: -0.25, distance: 1.15 };
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(canvas.width, canvas.height);
  const nearest = new Float32Array(canvas.width * canvas.height);

  // The colours of the pictures: the same depth has the same colour on the whole page.
  const stop = (z) => data.ramp[Math.min(data.ramp.length - 1, Math.floor(z / data.far_m * data.ramp.length))];

  function draw() {
    const { width, height } = canvas;
    const steps = depths[chosen("cloud-set", "clean")];
    const inColour = rgb && chosen("cloud-paint", "depth") === "colour";
    pixels.data.fill(0);
    nearest.fill(Infinity);
    const focal = 0.92 * Math.min(width / data.width, height / data.height) * data.fx;
    const aspect = data.fy / data.fx;
    const [cosYaw, sinYaw] = [Math.cos(view.yaw), Math.sin(view.yaw)];
    const [cosPitch, sinPitch] = [Math.cos(view.pitch), Math.sin(view.pitch)];
    for (let v = 0, index = 0; v < data.height; v++) {
      for (let u = 0; u < data.width; u++, index++) {
        const step = steps[index];
        if (!step) continue;
        const z = step * data.scale_m;
        const x = (u - data.cx) / data.fx * z;
        const y = (v - data.cy) / data.fy * z;
        const behind = z - data.middle_m;
        const across = cosYaw * x - sinYaw * behind;
        const along = sinYaw * x + cosYaw * behind;
        const down = cosPitch * y + sinPitch * along;
        const away = cosPitch * along - sinPitch * y + view.distance * data.middle_m;
        if (away < 0.05 * data.middle_m) continue;
        const column = Math.round(focal * across / away + width / 2);
        const row = Math.round(focal * aspect * down / away + height / 2);
        // As large as the pixel that it was, seen from here.
        const size = Math.min(12, Math.max(1, Math.ceil(focal / data.fx * z / away)));
        const [red, green, blue] = inColour ? rgb.subarray(3 * index, 3 * index + 3) : stop(z);
        for (let j = Math.max(0, row); j < Math.min(height, row + size); j++) {
          for (let i = Math.max(0, column); i < Math.min(width, column + size); i++) {
            const at = j * width + i;
            if (away >= nearest[at]) continue;
            nearest[at] = away;
            pixels.data[4 * at] = red;
            pixels.data[4 * at + 1] = green;
            pixels.data[4 * at + 2] = blue;
            pixels.data[4 * at + 3] = 255;
          }
        }
      }
    }
    context.putImageData(pixels, 0, 0);
    canvas.dataset.view = `${view.yaw.toFixed(3)} ${view.pitch.toFixed(3)} ${view.distance.toFixed(3)}`;
  }

  let waiting = false;
  function drawSoon() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      draw();
    });
  }

  function turn(yaw, pitch) {
    view.yaw += yaw;
    view.pitch = Math.min(1.5, Math.max(-1.5, view.pitch + pitch));
    drawSoon();
  }

  function zoom(by) {
    view.distance = Math.min(6, Math.max(0.2, view.distance * by));
    drawSoon();
  }

  const moves = {
    left: () => turn(-TURN, 0),
    right: () => turn(TURN, 0),
    up: () => turn(0, TURN),
    down: () => turn(0, -TURN),
    nearer: () => zoom(1 / ZOOM),
    farther: () => zoom(ZOOM),
    home: () => { Object.assign(view, HOME); drawSoon(); },
  };
  const keys = {
    ArrowLeft: "left", ArrowRight: "right", ArrowUp: "up", ArrowDown: "down",
    "+": "nearer", "=": "nearer", "-": "farther", Home: "home",
  };
  canvas.addEventListener("keydown", (event) => {
    const move = keys[event.key];
    if (!move || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    moves[move]();
  });
  for (const button of document.querySelectorAll("[data-turn]")) {
    button.addEventListener("click", moves[button.dataset.turn]);
  }
  for (const choice of document.querySelectorAll('input[name^="cloud-"]')) choice.addEventListener("change", drawSoon);

  // One finger or the mouse turns; two fingers come nearer. A finger that moves up or down scrolls the page.
  const pointers = new Map();
  const spread = () => {
    const [first, second] = [...pointers.values()];
    return Math.hypot(first.x - second.x, first.y - second.y);
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const apart = pointers.size === 2 ? spread() : 0;
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (pointers.size === 2) {
      zoom(apart / Math.max(1, spread()));
    } else {
      const radians = Math.PI / canvas.clientWidth;
      turn((event.clientX - before.x) * radians, (before.y - event.clientY) * radians);
    }
  });
  for (const name of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(name, (event) => pointers.delete(event.pointerId));
  }
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    zoom(event.deltaY > 0 ? ZOOM : 1 / ZOOM);
  }, { passive: false });

  draw();
})();

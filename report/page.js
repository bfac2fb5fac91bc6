"use strict";
// Reads the JSON and the packed clips that page.py put into the page; asks nothing of any network.

// ------------------------------------------------------------------ theme
const root = document.documentElement;
const dark = matchMedia("(prefers-color-scheme: dark)");
let chosenTheme = null; // until somebody presses the button, the system's

function showTheme() {
  root.dataset.theme = chosenTheme ?? (dark.matches ? "dark" : "light");
}

function otherTheme() {
  chosenTheme = root.dataset.theme === "dark" ? "light" : "dark";
  showTheme();
}

showTheme();
dark.addEventListener("change", showTheme);
addEventListener("beforeprint", () => (root.dataset.theme = "light"));
addEventListener("afterprint", showTheme);

// ---------------------------------------------------------------- helpers
const byId = (id) => document.getElementById(id);

/** Make an element. Text enters as text, never as HTML. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function svgElement(tag, attributes = {}, text = "") {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.textContent = text;
  return element;
}

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

/** Read a clip: base64, inflate, add up the differences (report/codec.py). */
async function unpack(id, frameBytes, tolerance) {
  const packed = Uint8Array.from(atob(byId(`clip${id}`).textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const pixels = new Uint8Array(await new Response(stream).arrayBuffer());
  const step = 2 * tolerance + 1;
  for (let i = 0; i < pixels.length; i++) {
    const before = i < frameBytes ? 0 : pixels[i - frameBytes];
    pixels[i] = tolerance
      ? clamp(before + ((pixels[i] << 24) >> 24) * step, 0, 255)
      : before + pixels[i];
  }
  return pixels;
}

/** The frames of a clip that was unpacked. */
class Packed {
  constructor(pixels, frameBytes) {
    Object.assign(this, { pixels, frameBytes });
  }

  at(frame) {
    return this.pixels.subarray(frame * this.frameBytes, (frame + 1) * this.frameBytes);
  }
}

const LONGEST_WAIT = 1000; // milliseconds, where a browser presents no frame of a hidden film

/** The frames of a clip that is a film (report/film.py), one at a time. */
class Film {
  static async open(id, height, width, rate) {
    const film = new Film();
    const packed = Uint8Array.from(atob(byId(`clip${id}`).textContent), (c) => c.charCodeAt(0));
    film.rate = rate;
    film.url = URL.createObjectURL(new Blob([packed], { type: "video/webm" }));
    film.video = make("video", { muted: "", preload: "auto", src: film.url });
    film.canvas = make("canvas", { width, height });
    film.context = film.canvas.getContext("2d", { willReadFrequently: true });
    await film.wait("loadeddata");
    return film;
  }

  wait(event) {
    return new Promise((resolve, reject) => {
      this.video.addEventListener(event, resolve, { once: true });
      this.video.addEventListener("error", () => reject(this.video.error), { once: true });
      this.video.addEventListener("emptied", () => reject(new Error("closed")), { once: true });
    });
  }

  /** Until the next frame can be drawn: at the end of a seek it may still be the one before. */
  presented() {
    if (!this.video.requestVideoFrameCallback) return null;
    return new Promise((resolve) => {
      this.video.requestVideoFrameCallback(resolve);
      setTimeout(resolve, LONGEST_WAIT);
    });
  }

  /** Go to a frame: to the middle of its time. */
  async seek(frame) {
    if (frame === this.frame) return;
    const there = this.wait("seeked"), drawn = this.presented();
    this.video.currentTime = (frame + 0.5) / this.rate;
    await there;
    await drawn;
    const { width, height } = this.canvas;
    this.context.drawImage(this.video, 0, 0, width, height);
    const colors = this.context.getImageData(0, 0, width, height).data;
    this.pixels = new Uint8Array(width * height * 3);
    for (let from = 0, to = 0; from < colors.length; from += 4) {
      for (let color = 0; color < 3; color++) this.pixels[to++] = colors[from + color];
    }
    this.frame = frame;
  }

  at() {
    return this.pixels;
  }

  close() {
    URL.revokeObjectURL(this.url);
    this.video.removeAttribute("src");
  }
}

/** A table of 256 colors from a list of [r, g, b] at equal distances. */
function colorTable(stops) {
  return Array.from({ length: 256 }, (_, level) => {
    const at = (level / 255) * (stops.length - 1);
    const left = Math.min(Math.floor(at), stops.length - 2);
    return stops[left].map((value, c) => value + (stops[left + 1][c] - value) * (at - left));
  });
}

// ----------------------------------------------------------------- player
class Player {
  constructor(data) {
    this.data = data;
    this.colors = colorTable(data.ramp);
    this.frame = 0;
    this.playing = false;
    this.looping = true;
    this.hidden = new Set(); // runs switched off, by name: kept over sequences
    this.panels = [];
    this.cache = new Map();
    this.loading = 0;
    this.listen();
    // report.html#sequence=2&frame=310 opens at that moment.
    const wanted = new URLSearchParams(location.hash.slice(1));
    this.frame = Math.max(0, parseInt(wanted.get("frame")) || 0);
    const named = data.sequences.findIndex((sequence) => sequence.name === wanted.get("sequence"));
    this.openSequence(Math.max(0, named));
  }

  get sequence() {
    return this.data.sequences[this.index];
  }

  get shown() {
    return this.sequence.runs.filter((run) => !this.hidden.has(run.label));
  }

  // ------------------------------------------------------------- choices
  openSequence(index) {
    const before = this.index === undefined ? null : this.sequence;
    this.index = index;
    if (before !== this.sequence) this.forget();
    const { frames, runs } = this.sequence;
    if (!this.shown.length) this.hidden.clear();
    if (!before || before.frames < 100 !== frames < 100) byId("speed").value = frames < 100 ? 5 : 25;
    this.frame = clamp(this.frame, 0, frames - 1);

    byId("sequences").replaceChildren(
      ...this.data.sequences.map((sequence, k) => {
        const chip = make("button", { type: "button", class: "chip", "aria-pressed": k === index }, sequence.name);
        chip.addEventListener("click", () => this.openSequence(k));
        return chip;
      }),
    );
    byId("run-choice").hidden = runs.length < 2;
    byId("runs").replaceChildren(
      ...runs.map((run) => {
        const on = !this.hidden.has(run.label);
        const dot = make("span", { class: "dot", style: `color: ${this.color(run)}` });
        const chip = make("button", { type: "button", class: "chip run-chip", "aria-pressed": on }, dot, run.label);
        chip.addEventListener("click", () => this.toggleRun(run));
        return chip;
      }),
    );
    this.layOut();
  }

  toggleRun(run) {
    if (!this.hidden.delete(run.label)) this.hidden.add(run.label);
    if (!this.shown.length) this.hidden.delete(run.label); // one at least
    this.openSequence(this.index);
  }

  /** Show one run alone, and the next one each time; after the last, all. */
  nextRun() {
    const runs = this.sequence.runs;
    const alone = this.shown.length === 1 ? runs.indexOf(this.shown[0]) : -1;
    const next = runs[alone + 1];
    this.hidden = new Set(next ? runs.filter((run) => run !== next).map((run) => run.label) : []);
    this.openSequence(this.index);
  }

  color(run, series = 0) {
    const place = this.data.labels.indexOf(run.label) + series;
    return `var(--c${place % 6})`;
  }

  // -------------------------------------------------------------- layout
  layOut() {
    const { clips: given } = this.sequence;
    const withDifference = byId("difference").checked;
    this.panels = given.map((clip) => this.panel(clip.name, clip.blob));
    const several = this.sequence.runs.length > 1;
    byId("given").replaceChildren(
      ...(several ? [make("p", { class: "run-name" }, "the data")] : []),
      ...this.panels.map((panel) => panel.element),
    );

    let widest = 1;
    const rows = this.shown.map((run) => {
      const predicted = run.clips.map((clip) => ({ ...clip, run }));
      const errors = withDifference ? predicted.filter((clip) => clip.truth !== null) : [];
      const columns = predicted.length === 1 ? 1 + errors.length : predicted.length;
      widest = Math.max(widest, columns);
      const panels = [
        ...predicted.map((clip) => this.panel(clip.name, clip.blob, clip)),
        ...errors.map((clip) => {
          const name = predicted.length > 1 ? `Δ ${clip.name}` : "difference";
          return this.panel(name, clip.blob, clip, clip.truth);
        }),
      ];
      this.panels.push(...panels);
      const row = make("div", { class: "predicted" }, ...panels.map((panel) => panel.element));
      if (several) {
        const dot = make("span", { class: "dot", style: `color: ${this.color(run)}` });
        row.prepend(make("p", { class: "run-name" }, dot, run.label));
      }
      return row;
    });
    byId("predicted").replaceChildren(...rows);
    const stage = byId("stage");
    stage.style.setProperty("--given", given.length);
    stage.style.setProperty("--predicted", widest);
    this.layOutCurve();
    this.load();
  }

  panel(name, blob, clip = null, truth = null) {
    const { height, width } = this.sequence;
    const canvas = make("canvas", { width, height, role: "img", "aria-label": name });
    const score = make("span");
    const caption = make("figcaption", {}, make("b", {}, name), score);
    const element = make("figure", { class: "panel" }, canvas, caption);
    if (truth !== null) {
      score.textContent = `0 to ${this.data.errorScale}`;
      element.append(make("div", { class: "scale", title: "gray levels of 255" }));
    }
    const context = canvas.getContext("2d");
    return { element, canvas, context, score, blob, clip, truth, picture: context.createImageData(width, height) };
  }

  /** Drop the pictures of a sequence; films in use end when nobody asks them any more. */
  forget() {
    for (const opening of this.cache.values()) opening.then((clip) => clip.close?.(), () => {});
    this.cache.clear();
    this.pixels = null;
  }

  async open(id) {
    const { height, width } = this.sequence;
    if (this.data.filmRate) return Film.open(id, height, width, this.data.filmRate);
    const frameBytes = height * width * 3;
    return new Packed(await unpack(id, frameBytes, this.data.tolerance), frameBytes);
  }

  async load() {
    const turn = ++this.loading;
    const wanted = new Set(this.panels.flatMap((panel) => [panel.blob, panel.truth ?? panel.blob]));
    try {
      for (const id of wanted) {
        if (!this.cache.has(id)) this.cache.set(id, this.open(id));
      }
      const pixels = new Map();
      for (const id of wanted) pixels.set(id, await this.cache.get(id));
      if (turn !== this.loading) return; // another choice was made meanwhile
      this.pixels = pixels;
      this.show();
    } catch (error) {
      if (turn === this.loading) this.cannotRead(error);
    }
  }

  cannotRead(error) {
    const old = typeof DecompressionStream === "undefined";
    byId("trouble").hidden = false;
    byId("trouble").textContent = old
      ? "The pictures need a browser of 2023 or later."
      : `The pictures cannot be read: ${error.message || "this browser does not show such films (VP9 in 4:4:4)"}`;
  }

  // ---------------------------------------------------------------- show
  show() {
    const films = this.pixels ? [...this.pixels.values()].filter((clip) => clip instanceof Film) : [];
    if (films.length) this.showFilms();
    else this.draw(this.frame);
  }

  /** Draw the present frame as soon as all films are there; those asked for meanwhile are skipped. */
  async showFilms() {
    this.asked = true;
    if (this.seeking) return;
    this.seeking = true;
    while (this.asked && this.pixels) {
      this.asked = false;
      const { frame, pixels } = this;
      try {
        await Promise.all([...pixels.values()].map((film) => film.seek(frame)));
        if (pixels === this.pixels) this.draw(frame);
      } catch (error) {
        if (pixels === this.pixels) this.cannotRead(error);
      }
    }
    this.seeking = false;
  }

  draw(frame) {
    const { frames, height, width, given } = this.sequence;
    const size = height * width;
    for (const { canvas, context, picture, blob, clip, truth, score } of this.panels) {
      const pixels = this.pixels?.get(blob)?.at(frame);
      if (!pixels) continue;
      const true_ = truth === null ? null : this.pixels.get(truth).at(frame);
      const out = picture.data;
      for (let p = 0, i = 0, o = 0; p < size; p++, i += 3, o += 4) {
        if (true_) {
          const error = Math.abs(pixels[i] - true_[i]) + Math.abs(pixels[i + 1] - true_[i + 1]) + Math.abs(pixels[i + 2] - true_[i + 2]);
          const level = Math.min(255, Math.round((error / 3 / this.data.errorScale) * 255));
          [out[o], out[o + 1], out[o + 2]] = this.colors[level];
        } else {
          out[o] = pixels[i];
          out[o + 1] = pixels[i + 1];
          out[o + 2] = pixels[i + 2];
        }
        out[o + 3] = 255;
      }
      context.putImageData(picture, 0, 0);
      canvas.className = clip === null || truth !== null ? "" : frame < given ? "context" : "model";
      if (clip && truth === null) score.textContent = this.score(clip, frame);
    }
    byId("where").textContent = `frame ${this.frame} of ${frames - 1}`;
    const curve = byId("curve");
    curve.setAttribute("aria-valuenow", this.frame);
    curve.setAttribute("aria-valuetext", `frame ${this.frame}`);
    this.moveHand();
  }

  score(clip, frame) {
    const psnr = clip.run.scores.psnr?.[clip.name]?.[frame];
    if (psnr === undefined) return "";
    return psnr === null ? "given" : `${psnr.toFixed(2)} dB`;
  }

  go(frame) {
    this.frame = clamp(Math.round(frame), 0, this.sequence.frames - 1);
    this.began = null; // playing goes on from here
    this.show();
  }

  setPlaying(on) {
    if (on && !this.playing && this.frame === this.sequence.frames - 1) this.go(0);
    this.playing = on;
    this.began = null;
    byId("play").setAttribute("aria-pressed", on);
    byId("play").setAttribute("aria-label", on ? "Pause" : "Play");
    cancelAnimationFrame(this.request);
    if (on) this.request = requestAnimationFrame((now) => this.tick(now));
  }

  tick(now) {
    if (!this.playing) return;
    const { frames } = this.sequence;
    this.began ??= { time: now, frame: this.frame };
    const passed = Math.floor(((now - this.began.time) / 1000) * byId("speed").value);
    let frame = this.began.frame + passed;
    if (frame >= frames && !this.looping) {
      this.go(frames - 1);
      this.setPlaying(false);
      return;
    }
    frame %= frames;
    if (frame !== this.frame) {
      this.frame = frame;
      this.show();
    }
    this.request = requestAnimationFrame((later) => this.tick(later));
  }

  // --------------------------------------------------------------- curve
  layOutCurve() {
    const metric = byId("metric").value;
    const holder = byId("curve");
    const { frames, given } = this.sequence;
    const scored = this.sequence.runs.some((run) => Object.keys(run.scores).length);
    const height = scored ? 190 : 44; // with no scores, a ruler to move along
    const box = { left: scored ? 38 : 8, right: 8, top: 10, bottom: 22, width: holder.clientWidth || 600, height };
    holder.classList.toggle("bare", !scored);
    byId("metric").closest("label").hidden = !scored;
    this.x = (frame) => box.left + (frame / Math.max(1, frames - 1)) * (box.width - box.left - box.right);
    this.frameAt = (x) => ((x - box.left) / (box.width - box.left - box.right)) * (frames - 1);

    this.series = [];
    for (const run of this.shown) {
      Object.entries(run.scores[metric] ?? {}).forEach(([name, values]) => {
        const predicted = run.clips.findIndex((clip) => clip.name === name);
        if (predicted < 0 && this.series.some((one) => one.base && one.name === name)) return; // once is enough
        const label = run.clips.length > 1 || predicted < 0 ? name : run.label;
        const own = this.sequence.runs.length > 1 && run.clips.length > 1 ? `${run.label}, ${name}` : label;
        this.series.push({ name, label: own, values, base: predicted < 0, color: this.color(run, Math.max(0, predicted)), weak: run.weak[metric]?.[name] ?? [] });
      });
    }
    const all = this.series.flatMap((one) => one.values.filter((value) => value !== null));
    const low = all.length ? Math.min(...all) : 0;
    const high = all.length ? Math.max(...all) : 1;
    const room = (high - low) * 0.06 || 1;
    const span = high - low + 2 * room;
    this.y = (value) => box.top + ((high + room - value) / span) * (box.height - box.top - box.bottom);

    const svg = svgElement("svg", { viewBox: `0 0 ${box.width} ${box.height}`, "aria-hidden": "true" });
    for (const value of all.length ? ticks(low, high, 4) : []) {
      svg.append(svgElement("line", { class: "rule", x1: box.left, x2: box.width - box.right, y1: this.y(value), y2: this.y(value) }));
      svg.append(svgElement("text", { x: box.left - 6, y: this.y(value) + 4, "text-anchor": "end" }, String(value)));
    }
    const floor = box.height - box.bottom;
    svg.append(svgElement("line", { class: "rule", x1: box.left, x2: box.width - box.right, y1: floor, y2: floor }));
    for (const frame of ticks(0, frames - 1, Math.max(2, box.width / 90))) {
      if (Number.isInteger(frame)) svg.append(svgElement("text", { x: this.x(frame), y: box.height - 6, "text-anchor": "middle" }, String(frame)));
    }
    if (given > 1) svg.append(svgElement("rect", { class: "given-part", x: this.x(0), y: box.top, width: this.x(given - 1) - this.x(0), height: floor - box.top }));
    for (const one of [...this.series].sort((a, b) => b.base - a.base)) {
      const path = svgElement("path", { d: linePath(one.values, this.x, this.y), class: one.base ? "base" : "" });
      if (!one.base) path.style.stroke = one.color;
      svg.append(path);
      for (const frame of one.weak) {
        const [x, y] = [this.x(frame), this.y(one.values[frame])];
        const mark = svgElement("path", { d: `M${x - 5} ${y - 11}h10L${x} ${y - 3}z`, class: "weak" });
        mark.style.fill = one.color;
        svg.append(mark);
      }
    }
    this.hand = svgElement("line", { class: "hand", y1: box.top, y2: floor });
    this.dots = this.series.filter((one) => !one.base).map((one) => {
      const dot = svgElement("circle", { r: 4 });
      dot.style.fill = one.color;
      return { dot, one };
    });
    svg.append(this.hand, ...this.dots.map(({ dot }) => dot));
    holder.replaceChildren(svg);
    holder.setAttribute("aria-valuemax", frames - 1);
    const unit = metric === "psnr" ? " dB" : "";
    byId("legend").replaceChildren(
      ...[...this.series].sort((a, b) => a.base - b.base).map((one) => {
        const swatch = make("i", { class: one.base ? "base" : "" });
        if (!one.base) swatch.style.color = one.color;
        one.readout = make("span");
        one.unit = unit;
        return make("span", {}, swatch, one.label, one.readout);
      }),
    );
    this.moveHand();
  }

  moveHand() {
    const x = this.x(this.frame);
    this.hand.setAttribute("x1", x);
    this.hand.setAttribute("x2", x);
    for (const { dot, one } of this.dots) {
      const value = one.values[this.frame];
      dot.setAttribute("visibility", value === null ? "hidden" : "visible");
      if (value !== null) {
        dot.setAttribute("cx", x);
        dot.setAttribute("cy", this.y(value));
      }
    }
    const digits = byId("metric").value === "psnr" ? 2 : 3;
    for (const one of this.series) {
      const value = one.values[this.frame];
      one.readout.textContent = value === null ? "–" : `${value.toFixed(digits)}${one.unit}`;
    }
  }

  // -------------------------------------------------------------- events
  listen() {
    for (const speed of [1, 2, 5, 10, 25, 50, 100]) {
      byId("speed").append(make("option", { value: speed }, `${speed} frames/s`));
    }
    byId("play").addEventListener("click", () => this.setPlaying(!this.playing));
    byId("start").addEventListener("click", () => this.go(0));
    byId("back").addEventListener("click", () => this.step(-1));
    byId("forth").addEventListener("click", () => this.step(1));
    byId("loop").addEventListener("click", () => this.toggleLoop());
    byId("speed").addEventListener("change", () => (this.began = null));
    byId("metric").addEventListener("change", () => this.layOutCurve());
    byId("difference").addEventListener("change", () => this.layOut());
    addEventListener("resize", () => this.layOutCurve());
    const curve = byId("curve");
    const scrub = (event) => this.go(this.frameAt(event.clientX - curve.getBoundingClientRect().left));
    curve.addEventListener("pointerdown", (event) => {
      curve.setPointerCapture(event.pointerId);
      scrub(event);
    });
    curve.addEventListener("pointermove", (event) => {
      if (curve.hasPointerCapture(event.pointerId)) scrub(event);
    });
    document.addEventListener("keydown", (event) => this.key(event));
  }

  step(by) {
    this.setPlaying(false);
    this.go(this.frame + by);
  }

  toggleLoop() {
    this.looping = !this.looping;
    byId("loop").setAttribute("aria-pressed", this.looping);
  }

  changeSpeed(by) {
    const speed = byId("speed");
    speed.selectedIndex = clamp(speed.selectedIndex + by, 0, speed.options.length - 1);
    this.began = null;
  }

  key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const at = event.target;
    if (at.matches("select")) return;
    if ((event.key === " " || event.key === "Enter") && at.matches("button, input, summary")) return;
    const onCurveOrNothing = !at.matches("input");
    const actions = {
      " ": () => this.setPlaying(!this.playing),
      ArrowLeft: () => this.step(event.shiftKey ? -10 : -1),
      ArrowRight: () => this.step(event.shiftKey ? 10 : 1),
      "+": () => this.changeSpeed(1),
      "-": () => this.changeSpeed(-1),
      ...(at.closest("#player") && {
        Home: () => this.go(0),
        End: () => this.go(this.sequence.frames - 1),
      }), // elsewhere they belong to the page
      d: () => byId("difference").click(),
      l: () => this.toggleLoop(),
      r: () => this.nextRun(),
    };
    const action = actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    const number = Number(event.key) - 1;
    if (action && onCurveOrNothing) action();
    else if (event.key !== " " && this.data.sequences[number]) this.openSequence(number);
    else return;
    event.preventDefault();
  }
}

/** Round values between low and high, about `count` of them. */
function ticks(low, high, count) {
  const rough = (high - low || 1) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  const found = [];
  for (let k = Math.ceil(low / step); k * step <= high; k++) found.push(Number((k * step).toPrecision(6)));
  return found;
}

/** An SVG path through the values; it breaks where there is none. */
function linePath(values, x, y) {
  let down = false;
  let path = "";
  values.forEach((value, frame) => {
    if (value !== null) path += `${down ? "L" : "M"}${x(frame).toFixed(1)} ${y(value).toFixed(1)}`;
    down = value !== null;
  });
  return path;
}

document.addEventListener("DOMContentLoaded", () => {
  byId("theme").addEventListener("click", otherTheme);
  document.addEventListener("keydown", (event) => {
    const plain = !(event.ctrlKey || event.altKey || event.metaKey);
    if (plain && event.key.toLowerCase() === "t" && !event.target.matches("select, input")) otherTheme();
  });
  if (byId("player")) new Player(JSON.parse(byId("data").textContent));
});

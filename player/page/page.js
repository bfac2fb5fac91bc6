// The page of Player.py: shows what the model predicts and sends what hands do. All of it comes
// from the server that printed the address; nothing is asked of any other.

import { Memory } from "./memory.js";
import { DanceSteering, RobotSteering } from "./steer.js";

const byId = (id) => document.getElementById(id);
const HEADER = 28; // bytes before the overlay of a frame (player/protocol.py)
const TRIES = [400, 1000, 2000, 4000]; // milliseconds between attempts to connect again
const SHOWN_FOR = 1000; // milliseconds over which frames are counted
const MOST_READINGS = 4096;

/** Make an element. Text enters as text, never as HTML. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

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

// ------------------------------------------------------------------ frames
/** Read a frame as the server packs it. */
function unpack(buffer) {
  const view = new DataView(buffer);
  const [pictures, height, width] = [2, 4, 6].map((at) => view.getUint16(at, true));
  const numbers = view.getUint32(16, true);
  return {
    predicted: Boolean(view.getUint8(1) & 1),
    resting: Boolean(view.getUint8(1) & 2),
    pictures, height, width,
    number: view.getUint32(8, true),
    applied: view.getUint32(12, true),
    milliseconds: view.getFloat32(20, true),
    dropped: view.getUint32(24, true),
    overlay: new Float32Array(buffer, HEADER, numbers),
    pixels: new Uint8Array(buffer, HEADER + 4 * numbers),
    size: buffer.byteLength,
    time: performance.now(),
  };
}

/** Draws RGB pictures onto a canvas of their size. */
class Canvas {
  constructor(element, height, width) {
    Object.assign(element, { height, width });
    this.context = element.getContext("2d");
    this.image = this.context.createImageData(width, height);
    this.image.data.fill(255);
  }

  show(pixels, picture) {
    const out = this.image.data;
    let from = picture * this.image.width * this.image.height * 3;
    for (let to = 0; to < out.length; to += 4, from += 3) {
      out[to] = pixels[from];
      out[to + 1] = pixels[from + 1];
      out[to + 2] = pixels[from + 2];
    }
    this.context.putImageData(this.image, 0, 0);
  }
}

// -------------------------------------------------------------------- page
class Page {
  constructor() {
    this.tries = 0;
    this.wanted = {}; // what was chosen, told again to a server that comes back
    this.inputs = []; // numbered inputs that no frame has shown yet, with their time
    this.lastInput = 0;
    this.paints = [];
    this.readings = { latencies: [], paints: 0, dropped: 0 };
    globalThis.readings = this.readings; // what benchmarks/play.py reads
    this.listen();
    this.connect();
    setInterval(() => this.showReadings(), 500);
  }

  // ------------------------------------------------------------ connection
  connect() {
    const place = new URL("play", location.href);
    place.protocol = "ws:";
    this.socket = new WebSocket(place);
    this.socket.binaryType = "arraybuffer";
    this.socket.addEventListener("message", ({ data }) => this.receive(data));
    this.socket.addEventListener("close", (event) => this.closed(event));
  }

  receive(data) {
    if (typeof data !== "string") {
      if (new Uint8Array(data, 0, 1)[0] === 2) this.save(data);
      else this.take(unpack(data));
      return;
    }
    const message = JSON.parse(data);
    if (message.is === "hello") this.greet(message);
    if (message.is === "state") this.showState(message);
  }

  closed({ code, reason }) {
    this.state = null;
    if (code === 1008) return this.tell(`The server closed this session: ${reason}.`, true);
    if (code === 1013) return this.tell(`No room: ${reason}.`, true);
    this.tell("The server is gone. Looking for it again …", false);
    const wait = TRIES[Math.min(this.tries++, TRIES.length - 1)];
    setTimeout(() => this.connectAgain(), wait);
  }

  /** A server that was started anew has another token, unless PLAYER_TOKEN says which. */
  async connectAgain() {
    try {
      const answer = await fetch(location.href);
      if (answer.status === 404) {
        return this.tell("Another server is running here now. Open the address that it printed.", true);
      }
    } catch {
      // not there yet: the WebSocket will say so
    }
    this.connect();
  }

  tell(words, canTry) {
    byId("trouble").hidden = !words;
    byId("trouble").firstElementChild.textContent = words;
    byId("again").hidden = !canTry;
  }

  send(message, when) {
    if (this.socket.readyState !== WebSocket.OPEN) return;
    if (when !== undefined) {
      message = { ...message, n: ++this.lastInput };
      this.inputs.push({ n: this.lastInput, when });
    }
    this.socket.send(JSON.stringify(message));
  }

  /** Send a choice, and remember it for a server that comes back. */
  choose(message) {
    this.wanted[message.do] = message;
    this.send(message);
  }

  // ----------------------------------------------------------------- layout
  greet(hello) {
    this.tell("", false);
    this.tries = 0;
    this.inputs = [];
    this.lastInput = 0;
    this.hello = hello;
    const dance = hello.kind === "dance";
    const title = dance ? "Play the dancer" : "Play the arm";
    document.title = title;
    byId("title").textContent = title;
    byId("about").textContent = hello.about;
    byId("note").hidden = !hello.note;
    byId("note").textContent = hello.note;
    this.memory = new Memory(hello.memory);
    this.live = true;
    this.layOutPictures(dance);
    this.layOutChoices(dance);
    for (const message of Object.values(this.wanted)) this.send(message);
  }

  layOutPictures(dance) {
    const { height, width, samples } = this.hello;
    const figures = Array.from({ length: samples }, (_, k) => {
      const canvas = make("canvas", { role: "img", "aria-label": dance ? "prediction" : `sample ${k + 1}` });
      const figure = make("figure", { class: "picture" }, canvas);
      if (!dance) figure.append(make("figcaption", {}, `sample ${k + 1}`));
      return figure;
    });
    this.figures = figures;
    byId("screen").replaceChildren(...figures);
    byId("screen").className = dance ? "" : "four";
    this.canvases = figures.map((figure) => new Canvas(figure.querySelector("canvas"), height, width));
    const send = (message, when) => {
      if (message.do !== "drop") this.goLive();
      this.send(message, ["drop", "take", "keep"].includes(message.do) ? undefined : (when ?? performance.now()));
    };
    this.steering = dance ? new DanceSteering(figures[0], this.hello, send) : new RobotSteering(figures, this.hello, send);
    this.steering.onchange = () => this.showArm();
    byId("given").hidden = !dance;
    if (dance) this.given = new Canvas(byId("given").querySelector("canvas"), height, width);
    byId("smooth").dispatchEvent(new Event("change"));
    byId("skeleton").dispatchEvent(new Event("change"));
  }

  layOutChoices(dance) {
    byId("moves").hidden = byId("skeleton-choice").hidden = !dance;
    byId("arm").hidden = dance;
    byId("starts").replaceChildren(
      ...this.hello.starts.map((name, start) => {
        const chip = make("button", { type: "button", class: "chip", "aria-pressed": "false" }, name);
        chip.addEventListener("click", () => this.choose({ do: "start", start }));
        return chip;
      }),
    );
    if (dance) {
      byId("moves").lastElementChild.replaceChildren(
        ...this.hello.moves.map((name, k) => {
          const chip = make("button", { type: "button", class: "chip" }, make("kbd", {}, String(k + 1)), ` ${name}`);
          chip.addEventListener("click", () => this.makeMove(k));
          return chip;
        }),
      );
      byId("gestures").textContent =
        "Drag a wrist, an elbow, a knee, an ankle, the head, the neck. Drag the hip, and the body walks; pull a hand " +
        "further than it reaches, and the body follows. Wheel or pinch: nearer and farther. Tab goes from joint " +
        "to joint, and the arrow keys move it. Orange border: predicted; green: given to the model.";
      byId("own-keys").replaceChildren(...keys(["1", "…", "5"]), " moves");
    } else {
      byId("gestures").textContent =
        "The arm follows the mouse, or a finger. Pressed, it goes down on the table and pushes; released, it rises. " +
        "Four samples show what the model thinks may happen. Green border: given to the model; orange: predicted.";
      byId("own-keys").replaceChildren(...keys(["←", "↑", "→", "↓"]), " lead the arm ", ...keys(["L"]), " down or up ", ...keys(["G"]), " gripper ", ...keys(["K"]), " keep what is seen");
    }
    this.hint = dance
      ? "Drag a joint. The pose image is all that the model is told; the picture is its answer."
      : "Move over a picture; press to reach down. All four samples are told the same commands.";
  }

  // ------------------------------------------------------------------ frames
  take(frame) {
    const latest = this.memory.at(this.memory.length - 1);
    if (latest && frame.number < latest.number) {
      this.memory.clear(); // back at a first frame
      this.live = true;
    }
    // A pose that was changed while paused is shown, and leaves no moment to remember.
    if (frame.predicted || !this.memory.length) this.memory.add(frame);
    this.index = Math.min(this.live ? Infinity : this.index, this.memory.length - 1);
    this.readings.dropped = frame.dropped;
    this.newest = frame;
    this.paintSoon();
  }

  paintSoon() {
    this.request ??= requestAnimationFrame(() => {
      this.request = null;
      this.paint();
    });
  }

  paint() {
    const newest = this.newest;
    if (!newest) return;
    const frame = this.live ? newest : this.memory.at(this.index);
    this.canvases.forEach((canvas, k) => canvas.show(frame.pixels, k));
    this.given?.show(frame.pixels, 1);
    this.steering.show(frame.overlay);
    for (const figure of this.figures) {
      figure.classList.toggle("known", !frame.predicted && this.memory.length === 1);
      figure.classList.toggle("past", !this.live);
    }
    byId("where").textContent = `frame ${frame.number}`;
    this.showMemory();
    if (newest !== this.confirmed) {
      this.confirmed = newest;
      this.send({ do: "shown", frame: newest.number });
      this.measure(newest);
    }
    byId("hint").textContent = this.hintFor(frame);
  }

  hintFor(frame) {
    if (frame.resting) return "The sequence is at its end. Click the picture to go on by hand, or start another.";
    if (this.hello.kind === "dance" && !frame.overlay.length) {
      return "Pose images of the data, as they are. Click the picture to go on by hand.";
    }
    return this.hint;
  }

  measure(frame) {
    const now = performance.now();
    while (this.inputs.length && this.inputs[0].n <= frame.applied) {
      this.readings.latencies.push(now - this.inputs.shift().when);
    }
    if (this.readings.latencies.length > MOST_READINGS) this.readings.latencies.splice(0, MOST_READINGS / 2);
    if (this.inputs.length > MOST_READINGS) this.inputs.length = 0;
    this.modelTime = frame.milliseconds;
    if (!frame.predicted) return;
    this.readings.paints += 1;
    this.paints.push(now);
    while (this.paints[0] < now - SHOWN_FOR) this.paints.shift();
  }

  showReadings() {
    const since = performance.now() - SHOWN_FOR;
    const recent = this.paints.filter((time) => time > since).length;
    byId("rate").textContent = `${recent}/s`;
    const latest = this.readings.latencies.slice(-20).sort((a, b) => a - b);
    byId("latency").textContent = latest.length ? `${Math.round(latest[latest.length >> 1])} ms` : "–";
    byId("model").textContent = this.modelTime ? `${this.modelTime.toFixed(1)} ms` : "–";
  }

  // ------------------------------------------------------------------ memory
  showMemory() {
    const slider = byId("memory");
    slider.max = Math.max(0, this.memory.length - 1);
    slider.value = this.live ? slider.max : this.index;
    const age = this.live ? 0 : this.memory.age(this.index);
    byId("when").textContent = this.live ? "now" : `−${age.toFixed(1)} s`;
  }

  scrubTo(index) {
    if (!this.memory?.length) return;
    if (this.state?.playing) this.send({ do: "play", on: false });
    this.index = Math.max(0, Math.min(index, this.memory.length - 1));
    this.live = this.index === this.memory.length - 1;
    this.paintSoon();
  }

  goLive() {
    if (this.live) return;
    this.live = true;
    this.index = this.memory.length - 1;
    this.paintSoon();
  }

  // ---------------------------------------------------------------- controls
  showState(state) {
    this.state = state;
    byId("play").setAttribute("aria-pressed", state.playing);
    byId("play").setAttribute("aria-label", state.playing ? "Pause" : "Play");
    byId("record").setAttribute("aria-pressed", state.recording);
    byId("record").setAttribute("aria-label", state.recording ? "Stop recording" : "Record");
    [...byId("starts").children].forEach((chip, k) => chip.setAttribute("aria-pressed", k === state.start));
    for (const chip of document.querySelectorAll("[data-z]")) {
      chip.setAttribute("aria-pressed", chip.dataset.z === state.z);
    }
    byId("redraw").disabled = byId("temperature").disabled = state.z === "mean";
    byId("temperature").value = state.temperature;
    byId("degrees").textContent = state.temperature.toFixed(1);
    byId("pace").value = String(state.fps);
    byId("files").hidden = !state.recorded && !state.recording;
    for (const chip of document.querySelectorAll("[data-file]")) chip.disabled = !state.recorded;
    byId("recorded").textContent = state.recording ? "Recording …" : `Recorded: ${state.recorded} frames`;
    this.showArm();
  }

  showArm() {
    if (this.hello?.kind !== "robot") return;
    byId("lower").setAttribute("aria-pressed", this.steering.lowered);
    byId("grip").setAttribute("aria-pressed", this.steering.open);
  }

  setPlaying(on) {
    this.goLive();
    this.choose({ do: "play", on });
  }

  makeMove(k) {
    if (!this.hello.moves?.[k]) return;
    this.goLive();
    this.send({ do: "move", name: this.hello.moves[k] }, performance.now());
  }

  reset() {
    this.live = true;
    this.send({ do: "start", start: this.state?.start ?? 0 });
  }

  step() {
    if (!this.live) return this.scrubTo(this.index + 1);
    this.send({ do: "step" });
  }

  setLatent(change) {
    const { z, temperature } = { ...this.state, ...change };
    this.choose({ do: "latent", z, temperature });
  }

  toggleRecord() {
    if (!this.state) return;
    byId("saved").textContent = "";
    this.goLive();
    if (!this.state.recording && !this.state.playing) this.setPlaying(true);
    this.send({ do: "record", on: !this.state.recording });
  }

  /** Hand a file of the recording to the browser, which asks where to put it or puts it away. */
  save(buffer) {
    const kind = this.hello.files[new Uint8Array(buffer, 1, 1)[0]];
    const [type, suffix] = { gif: ["image/gif", "gif"], mp4: ["video/mp4", "mp4"], sequence: ["application/zip", "zip"] }[kind];
    const blob = new Blob([new Uint8Array(buffer, 4)], { type });
    const link = make("a", { download: `play-${this.hello.kind}.${suffix}` });
    link.href = URL.createObjectURL(blob);
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    byId("saved").textContent = `${link.download}, ${(blob.size / 1e6).toFixed(2)} MB`;
  }

  listen() {
    byId("theme").addEventListener("click", otherTheme);
    byId("again").addEventListener("click", () => this.connectAgain());
    byId("reset").addEventListener("click", () => this.reset());
    byId("back").addEventListener("click", () => this.scrubTo(this.index - 1));
    byId("play").addEventListener("click", () => this.setPlaying(!this.state?.playing));
    byId("step").addEventListener("click", () => this.step());
    byId("record").addEventListener("click", () => this.toggleRecord());
    byId("memory").addEventListener("input", ({ target }) => this.scrubTo(Number(target.value)));
    byId("redraw").addEventListener("click", () => this.send({ do: "redraw" }));
    byId("temperature").addEventListener("input", ({ target }) => this.setLatent({ temperature: Number(target.value) }));
    byId("pace").addEventListener("change", ({ target }) => this.choose({ do: "pace", fps: Number(target.value) }));
    byId("smooth").addEventListener("change", ({ target }) => byId("screen").classList.toggle("smooth", target.checked));
    byId("skeleton").addEventListener("change", ({ target }) => {
      for (const figure of this.figures ?? []) figure.classList.toggle("no-skeleton", !target.checked);
    });
    byId("lower").addEventListener("click", () => this.steering.setLowered(!this.steering.lowered, performance.now()));
    byId("grip").addEventListener("click", () => this.steering.setOpen(!this.steering.open, performance.now()));
    byId("keep").addEventListener("click", () => this.send({ do: "keep" }));
    for (const chip of document.querySelectorAll("[data-z]")) {
      chip.addEventListener("click", () => this.setLatent({ z: chip.dataset.z }));
    }
    for (const chip of document.querySelectorAll("[data-file]")) {
      chip.addEventListener("click", () => {
        byId("saved").textContent = "making it …";
        this.send({ do: "save", kind: chip.dataset.file });
      });
    }
    document.addEventListener("keydown", (event) => this.key(event));
    addEventListener("resize", () => this.paintSoon());
  }

  key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey || !this.state) return;
    const at = event.target;
    if (at.matches?.("select, input[type=range]")) return;
    if ([" ", "Enter"].includes(event.key) && at.matches?.("button, input, summary")) return;
    const actions = {
      " ": () => this.setPlaying(!this.state.playing),
      ".": () => this.step(),
      ",": () => this.scrubTo(this.index - 1),
      Home: () => this.reset(),
      r: () => this.toggleRecord(),
      n: () => this.send({ do: "redraw" }),
      m: () => this.setLatent({ z: this.state.z === "mean" ? "sample" : "mean" }),
      s: () => byId("smooth").click(),
      t: otherTheme,
    };
    const action = actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (action) {
      if (!event.repeat || event.key === "." || event.key === ",") action();
    } else if (/^[1-9]$/.test(event.key) && this.hello.kind === "dance") {
      this.makeMove(Number(event.key) - 1);
    } else if (!this.steering.key(event)) {
      return;
    }
    event.preventDefault();
  }
}

function keys(names) {
  return names.map((name) => make("kbd", {}, name));
}

new Page();

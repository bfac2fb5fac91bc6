// Hands on the picture: joints that are dragged, an arm that is led. What they do is sent by
// `send(message, when)`; the server knows what limbs can do, so nothing is computed here.

const SVG = "http://www.w3.org/2000/svg";
const NUDGE = 0.02; // of the picture, by an arrow key
const NEAR = { mouse: 34, pen: 34, touch: 54 }; // pixels from a handle that still take it

function draw(parent, tag, attributes = {}) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  parent.append(element);
  return element;
}

/** Sends the latest of many moves once for every picture the browser draws. */
class Pointing {
  constructor(send) {
    this.send = send;
    this.waiting = null;
  }

  to(message, when) {
    if (!this.waiting) requestAnimationFrame(() => this.flush());
    this.waiting = { message, when: this.waiting?.when ?? when };
  }

  flush() {
    if (this.waiting) this.send(this.waiting.message, this.waiting.when);
    this.waiting = null;
  }
}

function placeIn(element, event) {
  const box = element.getBoundingClientRect();
  return { x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height };
}

export class DanceSteering {
  constructor(picture, hello, send) {
    this.picture = picture;
    this.send = send;
    this.pointing = new Pointing(send);
    this.joints = [];
    this.pointers = new Map();
    this.taken = null;
    const svg = draw(picture, "svg", { "aria-label": "Joints to drag" });
    const lines = (className) =>
      hello.limbs.map(([start, end, color]) => {
        const line = draw(svg, "line", { class: className });
        if (className === "limb") line.style.stroke = `rgb(${color})`;
        return { line, start, end };
      });
    this.lines = [...lines("limb under"), ...lines("limb")];
    this.handles = hello.handles.map(([name, joint]) => {
      const circle = draw(svg, "circle", {
        class: "handle", tabindex: 0, role: "button", "aria-label": name.replaceAll("_", " "),
        "data-joint": name,
      });
      circle.addEventListener("keydown", (event) => this.nudge(event, name));
      circle.addEventListener("blur", () => {
        this.nudged = null;
        if (this.taken === null) this.send({ do: "drop" });
      });
      return { name, joint, circle };
    });
    this.svg = svg;
    svg.addEventListener("pointerdown", (event) => this.down(event));
    svg.addEventListener("pointermove", (event) => this.move(event));
    for (const end of ["pointerup", "pointercancel"]) svg.addEventListener(end, (event) => this.up(event));
    svg.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
  }

  show(overlay) {
    this.joints = [];
    for (let k = 0; k < overlay.length; k += 2) this.joints.push([overlay[k], overlay[k + 1]]);
    const { clientWidth: width, clientHeight: height } = this.picture;
    const hidden = !this.joints.length;
    for (const { line, start, end } of this.lines) {
      line.style.display = hidden ? "none" : "";
      if (hidden) continue;
      line.setAttribute("x1", this.joints[start][0] * width);
      line.setAttribute("y1", this.joints[start][1] * height);
      line.setAttribute("x2", this.joints[end][0] * width);
      line.setAttribute("y2", this.joints[end][1] * height);
    }
    const radius = width < 500 ? 4.5 : 6.5;
    for (const { circle, joint, name } of this.handles) {
      circle.style.display = hidden ? "none" : "";
      if (hidden) continue;
      circle.setAttribute("r", radius);
      circle.setAttribute("cx", this.joints[joint][0] * width);
      circle.setAttribute("cy", this.joints[joint][1] * height);
      circle.classList.toggle("taken", this.taken === name);
    }
  }

  /** The handle to take at a place: the nearest, or the hip anywhere else on the body. */
  handleAt(place, kind) {
    const { clientWidth: width, clientHeight: height } = this.picture;
    let [best, nearest] = [null, NEAR[kind] ?? NEAR.mouse];
    for (const { name, joint } of this.handles) {
      const [x, y] = this.joints[joint];
      const distance = Math.hypot((x - place.x) * width, (y - place.y) * height);
      if (distance < nearest) [best, nearest] = [name, distance];
    }
    if (best) return best;
    const xs = this.joints.map(([x]) => x);
    const ys = this.joints.map(([, y]) => y);
    const inside = place.x > Math.min(...xs) && place.x < Math.max(...xs) && place.y > Math.min(...ys) && place.y < Math.max(...ys);
    return inside ? "mid_hip" : null;
  }

  down(event) {
    if (event.button > 0) return;
    event.preventDefault();
    if (!this.joints.length) return this.send({ do: "take" });
    this.nudged = null;
    this.pointers.set(event.pointerId, event);
    this.svg.setPointerCapture(event.pointerId);
    if (this.pointers.size === 2) {
      this.release();
      this.spread = this.distance();
      return;
    }
    const place = placeIn(this.svg, event);
    this.taken = this.handleAt(place, event.pointerType);
    if (this.taken) this.drag(place, event.timeStamp);
  }

  move(event) {
    if (!this.pointers.has(event.pointerId)) return;
    this.pointers.set(event.pointerId, event);
    if (this.pointers.size === 2) {
      const spread = this.distance();
      const by = Math.log(spread / this.spread) * 2.5;
      if (Math.abs(by) > 0.05) {
        this.send({ do: "come", by: Math.max(-1, Math.min(1, by)) }, event.timeStamp);
        this.spread = spread;
      }
    } else if (this.taken) {
      this.drag(placeIn(this.svg, event), event.timeStamp);
    }
  }

  up(event) {
    if (!this.pointers.delete(event.pointerId)) return;
    this.release();
  }

  release() {
    if (!this.taken) return;
    this.taken = null;
    this.pointing.flush();
    this.send({ do: "drop" });
  }

  distance() {
    const [a, b] = this.pointers.values();
    return Math.max(20, Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY));
  }

  drag({ x, y }, when, joint = this.taken) {
    const inside = (value) => Math.max(-1, Math.min(2, value));
    this.pointing.to({ do: "drag", joint, x: inside(x), y: inside(y) }, when);
  }

  wheel(event) {
    event.preventDefault();
    const by = Math.max(-1, Math.min(1, -event.deltaY * (event.deltaMode ? 0.08 : 0.0025)));
    if (this.joints.length && by) this.send({ do: "come", by }, event.timeStamp);
  }

  nudge(event, name) {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    // From where the last press sent it: a key that repeats is faster than the answers.
    const [x, y] = this.joints[this.handles.find((handle) => handle.name === name).joint];
    const from = this.nudged?.name === name ? this.nudged : { x, y };
    const far = NUDGE * (event.shiftKey ? 4 : 1);
    const inside = (value) => Math.max(0, Math.min(1, value));
    this.nudged = { name, x: inside(from.x + step[0] * far), y: inside(from.y + step[1] * 2 * far) };
    this.drag(this.nudged, event.timeStamp, name);
  }

  key() {
    return false;
  }
}

export class RobotSteering {
  constructor(pictures, hello, send) {
    this.send = send;
    this.pointing = new Pointing(send);
    this.aim = { x: 0.5, y: 0.5 };
    this.lowered = false;
    this.open = false;
    this.marks = pictures.map((picture) => {
      const svg = draw(picture, "svg", { "aria-label": "Where the arm goes" });
      const mark = {
        picture,
        lead: draw(svg, "line", { class: "lead" }),
        rings: ["aim dark", "aim"].map((name) => draw(svg, "circle", { class: name })),
      };
      svg.addEventListener("pointerdown", (event) => this.down(event, svg));
      svg.addEventListener("pointermove", (event) => this.move(event, svg));
      for (const end of ["pointerup", "pointercancel"]) svg.addEventListener(end, () => this.held && this.up());
      return mark;
    });
  }

  show(overlay) {
    if (overlay.length < 7) return;
    const [hx, hy, , x, y, z] = overlay;
    if (!this.pointed) this.aim = { x, y };
    for (const { picture, lead, rings } of this.marks) {
      const { clientWidth: width, clientHeight: height } = picture;
      for (const ring of rings) {
        ring.setAttribute("cx", x * width);
        ring.setAttribute("cy", y * height);
        ring.setAttribute("r", 7 + 7 * z);
      }
      const ends = { x1: hx * width, y1: hy * height, x2: x * width, y2: y * height };
      for (const [name, value] of Object.entries(ends)) lead.setAttribute(name, value);
    }
  }

  down(event, svg) {
    event.preventDefault();
    svg.setPointerCapture(event.pointerId);
    this.held = true;
    this.setLowered(true, event.timeStamp);
    this.lead(placeIn(svg, event), event.timeStamp);
  }

  /** A mouse leads the arm wherever it is; a finger, while it is down. */
  move(event, svg) {
    if (event.pointerType !== "touch" || this.held) this.lead(placeIn(svg, event), event.timeStamp);
  }

  up() {
    this.held = false;
    this.setLowered(false);
  }

  lead({ x, y }, when) {
    const inside = (value) => Math.max(0, Math.min(1, value));
    this.pointed = true;
    this.aim = { x: inside(x), y: inside(y) };
    this.pointing.to({ do: "aim", ...this.aim }, when);
  }

  setLowered(on, when) {
    this.lowered = on;
    this.send({ do: "lower", on }, when);
    this.onchange?.();
  }

  setOpen(open, when) {
    this.open = open;
    this.send({ do: "grip", open }, when);
    this.onchange?.();
  }

  key(event) {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (step) {
      const far = event.shiftKey ? 0.1 : 0.04;
      this.lead({ x: this.aim.x + step[0] * far, y: this.aim.y + step[1] * far }, event.timeStamp);
    } else if (event.key.toLowerCase() === "l") this.setLowered(!this.lowered, event.timeStamp);
    else if (event.key.toLowerCase() === "k") this.send({ do: "keep" });
    else if (event.key.toLowerCase() === "g") this.setOpen(!this.open, event.timeStamp);
    else return false;
    return true;
  }
}

// The last seconds of what was shown, of which one can look at any moment again.

const MOST_BYTES = 96e6;

export class Memory {
  constructor(seconds) {
    this.milliseconds = 1000 * seconds;
    this.clear();
  }

  clear() {
    this.moments = [];
    this.bytes = 0;
  }

  get length() {
    return this.moments.length;
  }

  /** Keep a moment; forget those that are too old, and more where they are large. */
  add(moment) {
    this.moments.push(moment);
    this.bytes += moment.size;
    const oldest = moment.time - this.milliseconds;
    while (this.moments[0].time < oldest || this.bytes > MOST_BYTES) {
      this.bytes -= this.moments.shift().size;
    }
  }

  at(index) {
    return this.moments[index];
  }

  /** How long before the newest moment this one was, in seconds. */
  age(index) {
    return (this.moments.at(-1).time - this.moments[index].time) / 1000;
  }
}

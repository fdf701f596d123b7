/** The time and the timers of the browser, as one argument that tests replace. Milliseconds throughout. */
export const systemClock = {
  now: () => Date.now(),
  setTimeout: (callback, delay) => globalThis.setTimeout(callback, delay),
  clearTimeout: (timer) => globalThis.clearTimeout(timer),
};

/** The time and the timers of the browser in milliseconds, as one argument that tests replace. */
export const systemClock = {
  now: () => Date.now(),
  setTimeout: (callback, delay) => globalThis.setTimeout(callback, delay),
  clearTimeout: (timer) => globalThis.clearTimeout(timer),
};

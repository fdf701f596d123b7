/** The time and the timers of the browser, as the one argument that tests replace. `now` and all delays are milliseconds. */
export const systemClock = {
  now: () => Date.now(),
  setTimeout: (callback, delay) => globalThis.setTimeout(callback, delay),
  clearTimeout: (timer) => globalThis.clearTimeout(timer),
};

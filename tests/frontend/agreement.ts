/** Compiles only if client.d.ts declares what the modules are: the typedefs of state.js, and the methods of the class. */

import type * as declared from "../../frontend/client.js";
import { ExportsConnection } from "../../frontend/connection.js";
import type * as documented from "../../frontend/state.js";

type Same<One, Other> = [One] extends [Other] ? ([Other] extends [One] ? true : false) : false;
type SameKeys<One, Other> = Same<keyof One, keyof Other>;

export const states: Same<declared.State, documented.State> = true;
export const names: [
  SameKeys<declared.State, documented.State>,
  SameKeys<declared.Progress, documented.Progress>,
  SameKeys<declared.ExportFile, documented.ExportFile>,
  SameKeys<declared.Urls, documented.Urls>,
  SameKeys<declared.ExportsConnection, ExportsConnection>,
] = [true, true, true, true, true];
export const connection = (real: ExportsConnection): declared.ExportsConnection => real;

/** What the kit needs to know of an addon: where it may lie, how it is named to users, and which build of it fits. */
export interface AddonConfig<Addon> {
  /** The npm name of the package that the addon belongs to. Prebuilt ones are `<package>-<platform>-<arch>`. */
  readonly package: string;
  /** The folder of that package. `tools/build-native.mjs` in it builds `build/Release/<name>.node`. */
  readonly folder: string;
  /** The name of the file without its ending, which is the target of `unicorn_addon` in CMake: `unicorn_cpu`. */
  readonly name: string;
  /** The addon's name in the middle of a sentence: `the native CPU kernels`. */
  readonly title: string;
  /** The backend's name, which errors about the addon have as `fields.device`. Default: they have no such field. */
  readonly device?: string;
  /** The environment variable that names a file to load instead of the usual ones. */
  readonly variable: string;
  /** The version of its functions that this package calls: the one given to `UNICORN_ADDON` in C++. */
  readonly version: number;
  /** Tries out an addon that was loaded. An addon for which it throws is not used. Default: every addon is used. */
  readonly check?: (addon: Addon) => void;
}

/** A title at the beginning of a sentence. */
export const capitalized = (title: string): string => title.charAt(0).toUpperCase() + title.slice(1);

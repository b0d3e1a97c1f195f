/** The pipelines of a device: one for each shader with its constants, made when first wanted and kept. */
import { guarded } from '@unicorn-exec/native';
import type { DeviceHandle, NativeAddon, PipelineHandle } from '../addon.js';
import type { PipelineSpec } from '../dispatch/dispatch.js';
import type { JobQueue } from './queue.js';
import type { ShaderLibrary } from './shader-library.js';

export function pipelineKey({ shader, constants, subgroupSize }: PipelineSpec): string {
  return `${shader} ${constants.join(' ')} ${subgroupSize ?? ''}`;
}

export class Pipelines {
  readonly #made = new Map<string, PipelineHandle>();
  readonly #making = new Map<string, Promise<void>>();
  /** Made since the device was opened: whether its cache is worth saving. */
  count = 0;

  constructor(
    private readonly addon: NativeAddon,
    private readonly device: DeviceHandle,
    private readonly queue: JobQueue,
    private readonly shaders: ShaderLibrary,
  ) {}

  get(spec: PipelineSpec): PipelineHandle | undefined {
    return this.#made.get(pipelineKey(spec));
  }

  /**
   * Makes what is missing, several at a time. Undefined when nothing is.
   *
   * @throws UnicornError `internal/shader` (the promise rejects) for a shader that the package lacks
   */
  ensure(specs: Iterable<PipelineSpec>): Promise<void> | undefined {
    const wanted = new Map<string, PipelineSpec>();
    const waited: Promise<void>[] = [];
    for (const spec of specs) {
      const key = pipelineKey(spec);
      if (this.#made.has(key)) continue;
      const making = this.#making.get(key);
      if (making) waited.push(making);
      else wanted.set(key, spec);
    }
    if (wanted.size > 0) waited.push(this.#make(wanted));
    return waited.length === 0 ? undefined : Promise.all(waited).then(() => {});
  }

  #make(wanted: ReadonlyMap<string, PipelineSpec>): Promise<void> {
    const making = this.#create(wanted).finally(() => {
      for (const key of wanted.keys()) this.#making.delete(key);
    });
    for (const key of wanted.keys()) this.#making.set(key, making);
    return making;
  }

  async #create(wanted: ReadonlyMap<string, PipelineSpec>): Promise<void> {
    const specs = [...wanted.values()];
    const modules = specs.map(({ shader }) => new Uint8Array(this.shaders.spirv(shader).buffer));
    const constants = specs.map((spec) => Uint32Array.from(spec.constants, (value) => value >>> 0));
    const subgroupSizes = Uint32Array.from(specs, ({ subgroupSize }) => subgroupSize ?? 0);
    const { job, pipelines } = guarded(() =>
      this.addon.createPipelines(this.device, modules, constants, subgroupSizes),
    );
    await this.queue.settled(job);
    [...wanted.keys()].forEach((key, index) => this.#made.set(key, pipelines[index]!));
    this.count += pipelines.length;
  }
}

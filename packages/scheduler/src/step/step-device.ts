/** Everything that steps need of one device: compiled programs, what is in flight, runners. It ends with the device. */
import type { DraftPolicy } from '../draft/draft-policy.js';
import type { Admission } from './admission.js';
import { Drafting } from './drafting.js';
import { Flights } from './flight.js';
import { Landing } from './landing.js';
import { Runner } from './runner.js';
import { LateSampling } from './late-sampling.js';
import { runnerPhases, type RunnerPhase } from './phase.js';
import { ProgramCache, type StepHost } from './program.js';
import type { StepCounts } from './step-counts.js';

export interface StepDeviceSetup {
  readonly host: StepHost;
  readonly admission: Admission;
  readonly policy: DraftPolicy;
  readonly counts: StepCounts;
  /** Milliseconds from any origin. */
  readonly clock: () => number;
  /** Steps that may be submitted before the tokens of the one before them are known. */
  readonly stepsAhead: number;
  /** Whether jobs outlive the device. */
  readonly outlived: boolean;
  /** Called when what the step loop may be waiting for has happened. */
  readonly tell: () => void;
}

export class StepDevice {
  readonly host: StepHost;
  readonly phases: readonly RunnerPhase[];
  readonly programs: ProgramCache;
  readonly flights: Flights;
  readonly drafting: Drafting;
  readonly late: LateSampling;
  readonly runners: readonly Runner[];

  constructor(setup: StepDeviceSetup) {
    const { host, admission, policy, counts, clock, stepsAhead, outlived, tell } = setup;
    this.host = host;
    this.phases = runnerPhases(host.device.info);
    const programs = (this.programs = new ProgramCache(host));
    const flights = (this.flights = new Flights(host, programs, admission, counts, outlived));
    const landing = new Landing(flights, admission, counts);
    const drafting = (this.drafting = new Drafting(
      host,
      programs,
      admission,
      flights,
      policy,
      clock,
      // Guesses lie behind their prompt's end.
      this.phases.at(-1),
    ));
    const late = (this.late = new LateSampling({
      host,
      programs,
      admission,
      flights,
      counts,
      // As guesses: what is sampled goes on behind a prompt's end.
      phase: this.phases.at(-1),
      tell,
    }));
    const runnerHost = { admission, flights, landing, drafting, late, policy, counts, clock, stepsAhead };
    this.runners = this.phases.map((phase) => new Runner(phase, runnerHost));
  }

  /** Whether something of it is under way. */
  get busy(): boolean {
    return this.late.busy || this.runners.some(({ busy }) => busy);
  }

  /** Frees what was compiled and allocated here. */
  async dispose(): Promise<void> {
    this.late.dispose();
    await this.programs.dispose();
  }
}

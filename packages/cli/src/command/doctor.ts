/** `unicorn doctor`: what this machine can compute on, what is missing, and the fix for each lack. */
import { diagnose } from '@unicorn-exec/api';
import type { Terminal } from '../terminal.js';
import { doctorText } from './doctor-text.js';

interface DoctorFlags {
  readonly build?: boolean;
  readonly selfTest?: boolean;
  readonly json?: boolean;
}

const colours = { ok: 'green', no: 'red', '--': 'dim' } as const;

export async function doctor(terminal: Terminal, flags: DoctorFlags): Promise<void> {
  if (flags.build) {
    const { buildNative } = await import('@unicorn-exec/api');
    const built = await buildNative((backend) =>
      terminal.note(`compiling the native part of ${backend} ...`),
    );
    for (const { backend, path, seconds } of built) {
      terminal.note(`${backend}: ${path} in ${seconds.toFixed(0)} s`);
    }
  }
  if (flags.selfTest) terminal.note('testing the GPU ...');
  const diagnosis = await diagnose({ selfTest: flags.selfTest });
  if (flags.json) terminal.writeJson(diagnosis);
  else terminal.write(doctorText(diagnosis, (mark) => terminal.style(colours[mark], mark, terminal.stdout)));
}

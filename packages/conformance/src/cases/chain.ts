/** Short chains of ops as decoders have them, since backends fuse: what is lost between the ops shows only here. */
import type { DeviceInfo } from '@unicorn-exec/tensor';
import type { Case } from '../case.js';

export function chainCases(_info: DeviceInfo): Case[] {
  return [];
}

export function chainBenchmarks(_info: DeviceInfo): Case[] {
  return [];
}

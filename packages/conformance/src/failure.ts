/** What the suite throws when a device breaks a promise. */
export class ConformanceFailure extends Error {
  override readonly name = 'ConformanceFailure';
}

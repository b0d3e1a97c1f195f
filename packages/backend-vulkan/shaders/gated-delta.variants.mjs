/** gatedDelta. */
export default [{ name: 'gated-delta', source: 'gated-delta.comp' }];

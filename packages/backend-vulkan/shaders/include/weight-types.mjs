/** Types that weights.glsl reads. */
export const planeTypes = ['q4_0', 'q4_1', 'q5_0', 'q5_1', 'q8_0', 'q4_k', 'q5_k', 'q6_k', 'iq4_nl'];
export const weightTypes = ['f32', 'f16', 'bf16', ...planeTypes];

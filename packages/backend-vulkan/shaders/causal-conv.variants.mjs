/** causalConv: the result, then what the state keeps. */
export default ['causal-conv', 'causal-conv-keep'].map((name) => ({ name, source: `${name}.comp` }));

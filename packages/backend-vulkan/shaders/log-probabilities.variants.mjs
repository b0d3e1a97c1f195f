/** logProbabilities: stretches of the vocabulary, then rows. */
export default ['scan', 'pick'].map((half) => ({
  name: `log-probabilities-${half}`,
  source: `log-probabilities-${half}.comp`,
}));

/** sample: the scan over the vocabulary, and the choice. */
export default ['sample-scan', 'sample-pick'].map((name) => ({ name, source: `${name}.comp` }));

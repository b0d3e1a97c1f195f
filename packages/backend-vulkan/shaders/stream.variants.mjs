/** mean, altUpPredict, altUpCorrect: one blob, what it does is a specialization constant. */
export default [{ name: 'stream', source: 'stream.comp' }];

/** mean, altUpPredict, altUpCorrect: one blob, whose operation a specialization constant chooses. */
export default [{ name: 'stream', source: 'stream.comp' }];

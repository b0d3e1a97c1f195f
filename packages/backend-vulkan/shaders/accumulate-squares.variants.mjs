/** accumulateSquares. */
export default [{ name: 'accumulate-squares', source: 'accumulate-squares.comp' }];

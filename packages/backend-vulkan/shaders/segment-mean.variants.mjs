/** segmentMean. */
export default [{ name: 'segment-mean', source: 'segment-mean.comp' }];

/** The copy that measures a device's memory bandwidth. */
export default [{ name: 'copy', source: 'copy.comp' }];

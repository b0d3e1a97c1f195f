/** Runs in every test process of this package: chooses the driver, and lets no message of the validation layer pass. */
import { afterAll, expect } from 'vitest';
import { chooseDriver, forgetValidation, validationMessages } from './lavapipe.js';

chooseDriver();

afterAll(() => {
  const messages = validationMessages();
  forgetValidation();
  expect(messages, 'the validation layer has something to say').toBe('');
});

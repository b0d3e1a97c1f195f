/** What the step loop has done so far. Its parts count; `Scheduler.stats` shows it. */
export class StepCounts {
  prefilledTokens = 0;
  reusedTokens = 0;
  generatedTokens = 0;
  preemptions = 0;
  steps = 0;
  submissions = 0;
  draftedTokens = 0;
  acceptedTokens = 0;
  speculationSteps = 0;
}

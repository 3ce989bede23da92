// The one error of these modules: a line that says what is wrong, and what to do next.

export class PromptError extends Error {
  constructor(message) {
    super(message);
    this.name = "PromptError";
  }
}

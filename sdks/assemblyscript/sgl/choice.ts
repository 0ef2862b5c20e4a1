// What a policy answers.

export const enum Answer { Nobody, Worker, Pair, Wait, Shed, Failed }

// There is one, which each answer is made in: nothing is allocated.
export class Choice {
  is: i32 = Answer.Nobody;
  first: i32 = 0;
  second: i32 = 0;
  tagged: bool = false;
  tag: u64 = 0;
  costs: bool = false;
  cost: f32 = 0;
  decodeCost: f32 = 0;
  key: f64 = 0;
  ms: u64 = 0;
  text: string | null = null;
  scores: StaticArray<f32> | null = null;

  @inline static start(is: i32): Choice {
    const choice = answer;
    choice.is = is;
    choice.tagged = false;
    choice.costs = false;
    choice.text = null;
    choice.scores = null;
    return choice;
  }

  // The worker of that index.
  @inline static worker(worker: i32): Choice {
    const choice = Choice.start(Answer.Worker);
    choice.first = worker;
    return choice;
  }
  // Both halves; an answer of selectPair.
  static pair(prefill: i32, decode: i32): Choice {
    const choice = Choice.start(Answer.Pair);
    choice.first = prefill;
    choice.second = decode;
    return choice;
  }
  // Nobody, because nobody may be chosen.
  static nobody(): Choice { return Choice.start(Answer.Nobody); }
  // The router holds the request and asks again, smallest key first.
  static wait(key: f64, deadlineMs: u64): Choice {
    const choice = Choice.start(Answer.Wait);
    choice.key = key;
    choice.ms = deadlineMs;
    return choice;
  }
  // The router refuses the request.
  static shed(retryAfterMs: u64): Choice {
    const choice = Choice.start(Answer.Shed);
    choice.ms = retryAfterMs;
    return choice;
  }
  // The policy could not decide, with a sentence for the operator.
  static failed(why: string): Choice {
    const choice = Choice.start(Answer.Failed);
    choice.text = why;
    return choice;
  }
  // The policy's own name for the request, which comes back with events.
  @inline withTag(tag: u64): Choice {
    this.tagged = true;
    this.tag = tag;
    return this;
  }
  // What the request costs its worker until its first token, from 0 to 2³⁶; of a pair, each of both.
  @inline withCost(cost: f32, decodeCost: f32 = 0): Choice {
    this.costs = true;
    this.cost = cost;
    this.decodeCost = decodeCost;
    return this;
  }
  // Why, for decision records.
  withReason(reason: string): Choice {
    if (this.is !== Answer.Failed) this.text = reason;
    return this;
  }
  // A score of each worker, for decision records.
  withScores(scores: StaticArray<f32>): Choice {
    this.scores = scores.length > 0 ? scores : null;
    return this;
  }
}

const answer = new Choice();

// Words that several parts of the SDK use.

export const enum Level { Error, Warn, Info, Debug, Trace }
export const enum Leg { Single, Prefill, Decode }
export const enum Role { Regular, Prefill, Decode }
export const enum Concurrency { Parallel, Serial }

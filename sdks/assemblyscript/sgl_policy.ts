// Write a routing policy for sgl-router in AssemblyScript.
//
//     import { Choice, Context, Init, Policy, plugin } from "../sgl_policy";
//     export { alloc, dealloc, init, on_workers, select_worker } from "../sgl_policy";
//
//     class First extends Policy {
//       init(init: Init): void { init.knownKeys([]); }
//       select(ctx: Context): Choice {
//         const worker = ctx.first();
//         return worker < 0 ? Choice.nobody() : Choice.worker(worker);
//       }
//     }
//     plugin("first", "the first worker that may be chosen", ["healthy", "excluded"], new First());
//
// The file exports what the policy has of select_worker_pair, on_first_token, on_complete, on_session_end, and
// save_state with restore_state, too: each calls the method of that name. Without on_workers it has no table.
//
// The first three arguments of `plugin` are literals, since the compiler's transform (sgl_manifest.mjs) makes the
// manifest of them. On the decision path nothing is allocated, and nothing that is read is trusted. Views of a message
// (Text, Ints …) are good until the call returns.

export * from "./sgl/words";
export * from "./sgl/host";
export * from "./sgl/reader";
export * from "./sgl/element";
export * from "./sgl/context";
export * from "./sgl/chance";
export * from "./sgl/choice";
export * from "./sgl/table";
export * from "./sgl/init";
export * from "./sgl/policy";
export * from "./sgl/exports";

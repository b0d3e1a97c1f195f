// Dispatches that follow each other without a barrier: each begins while the one before it still runs, reads memory that no
// dispatch writes (weights), and waits for the others' results here. A barrier instead empties the device, and fills it
// again. The twin of src/dispatch/chain.ts, which says when chains are used. Include it first: CHAINED selects the chained
// variant of a shader.
//
// Every workgroup of a chained dispatch counts itself when it has ended. One that waits is resident, and so is every
// workgroup of the dispatches before, since devices start workgroups in order; so those go on, and the wait ends. Vulkan does
// not promise such an order: a workgroup that waits for too long notes a fault and goes on, and so do all after it.
//
// CHAIN_SHARED marks members of buffers that other dispatches of the chain write or read. It makes their loads pass by the
// caches of compute units, unless VULKAN_MODEL is defined: then waiting empties those, and what is read again comes from
// them. (Mesa 22 gives wrong results for attention-row.comp in that model: of it, and of heads.comp, which reads nothing twice,
// the plain form.)
#ifndef CHAINED
#define CHAINED 0
#endif

#if CHAINED

#ifdef VULKAN_MODEL
#pragma use_vulkan_memory_model
#extension GL_KHR_memory_scope_semantics : require
#define CHAIN_SHARED nonprivate
#define CHAIN_BARRIER                                                                                         \
  controlBarrier(gl_ScopeWorkgroup, gl_ScopeWorkgroup, gl_StorageSemanticsBuffer | gl_StorageSemanticsShared, \
                 gl_SemanticsAcquireRelease | gl_SemanticsMakeAvailable | gl_SemanticsMakeVisible)
#define CHAIN_ACQUIRE \
  memoryBarrier(gl_ScopeDevice, gl_StorageSemanticsBuffer, gl_SemanticsAcquire | gl_SemanticsMakeVisible)
#define CHAIN_AWAITED CHAIN_BARRIER
#define chainLoad(word) atomicLoad(word, gl_ScopeDevice, gl_StorageSemanticsBuffer, gl_SemanticsRelaxed)
#define chainCount(word) \
  atomicAdd(word, 1u, gl_ScopeDevice, gl_StorageSemanticsBuffer, gl_SemanticsRelease | gl_SemanticsMakeAvailable)
#define chainStore(word, value) atomicStore(word, value, gl_ScopeDevice, gl_StorageSemanticsBuffer, gl_SemanticsRelaxed)
#define CHAIN_COUNTERS
#else
#define CHAIN_SHARED coherent
#define CHAIN_BARRIER    \
  memoryBarrierBuffer(); \
  barrier()
#define CHAIN_ACQUIRE memoryBarrierBuffer()
// Who waited has acquired. A barrier of memory in each of the others would wait for the loads that they have on their way,
// and they need none: what they load from here on passes by caches.
#define CHAIN_AWAITED barrier()
#define chainLoad(word) word
#define chainCount(word) atomicAdd(word, 1u)
#define chainStore(word, value) word = value
#define CHAIN_COUNTERS coherent volatile
#endif

#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#include "fault.glsl"

// The begin of a submission's inputs: the twin of `chainHead` in src/dispatch/chain.ts, and of `Faults` in fault.glsl.
layout(buffer_reference, scalar, buffer_reference_align = 8) CHAIN_COUNTERS buffer Chain {
  uvec2 record;
  // Workgroups.
  uint ended;
  // Whether a wait was given up: so is every other that lasts.
  uint stalled;
  // The most looks at `ended`, of about a microsecond each, while no workgroup ends.
  uint patience;
};

#define POLLS_BETWEEN_CHECKS 1024u

// Waits until `before` workgroups of the chain have ended. All invocations of the workgroup call it.
void awaitEarlier(Chain chain, uint before) {
  // A dispatch after a barrier waits for none.
  if (before == 0u) return;
  if (gl_LocalInvocationIndex == 0u) {
    uint polls = 0u;
    uint seen = 0u;
    for (uint ended = chainLoad(chain.ended); ended < before; ended = chainLoad(chain.ended)) {
      polls = ended == seen ? polls + 1u : 0u;
      seen = ended;
      if (polls % POLLS_BETWEEN_CHECKS != POLLS_BETWEEN_CHECKS - 1u) continue;
      if (chainLoad(chain.stalled) != 0u) break;
      if (polls < chain.patience) continue;
      chainStore(chain.stalled, 1u);
      noteFault(Faults(uvec2(chain)), FAULT_STALLED, before, ended);
      break;
    }
    CHAIN_ACQUIRE;
  }
  CHAIN_AWAITED;
}

// Counts the workgroup. All of its invocations call it, when they have written everything.
void countEnded(Chain chain) {
  CHAIN_BARRIER;
  if (gl_LocalInvocationIndex == 0u) chainCount(chain.ended);
}

#else
#define CHAIN_SHARED
// Outside of chains nothing waits.
#define awaitEarlier(chain, before)
#define countEnded(chain)
#endif

#include "app/gui/help.h"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace statescope::gui {

std::span<const Term> terms() {
  static constexpr Term kTerms[] = {
      {"expansion", "Expansion factor E",
       "How many times larger the keys, and with them the state, become. Head i's key of length K turns into "
       "E "
       "subkeys of length K through a matrix of its own.",
       "k_i^exp = act(x W_k,i) W_i^exp,  W_i^exp ∈ R^{K × E K}        (eqs 8, 9)"},
      {"rule", "Update rule",
       "How a token changes the state: linear adds, ssd (Mamba-2) and gla let it decay, gated_delta replaces "
       "what the "
       "state already holds under the key.",
       "S_t = e^{g_t} S_{t−1} + β_t k_tᵀ (v_t − e^{g_t} k_t S_{t−1})        (gated_delta, eq 6)"},
      {"key-dim", "Key dimension K", "Length of one subhead's key and query: rows of its state.",
       "S ∈ R^{K × V}"},
      {"value-dim", "Value dimension V",
       "Length of a head's value: columns of the state. All subheads of a head share the same values.",
       "S ∈ R^{K × V}"},
      {"heads", "Heads H", "Heads of v and o. Each has E subheads.", "states a layer: E H"},
      {"seq-len", "Sequence length T",
       "Tokens of a sequence. Keys, values and outputs grow with it, the state does not.", ""},
      {"batch", "Batch B", "Sequences that run at once.", ""},
      {"dtype", "Element type",
       "Of q, k, v and o on the device. States, gates and sums are float32 in any case.", ""},
      {"division", "Division",
       "How the grown head is laid out. Naive: one head with one long key and one state of E K × V. "
       "Subheads: E heads "
       "with states of K × V that share v and whose outputs are summed.",
       "o_i = Σ_{j=1..E} RNN(q_ij, k_ij, v_i)        (eq 10)"},
      {"devices", "Measured on",
       "Devices of this machine whose throughput is measured, one after the other, in the background.", ""},
      {"limits", "Limit lines",
       "The most shared memory that one workgroup may ask for, from the device database; the device need not "
       "be here.",
       ""},
      {"shared-memory", "Shared memory of a workgroup",
       "On-chip memory that the threads of a workgroup share. The comparison kernels hold the whole state of "
       "a "
       "(sub)head in it, as the paper's argument goes; the production kernels keep it in registers. A "
       "hatched bar does "
       "not fit the largest of the chosen devices of that API.",
       "naive: E K V · 4 B + tiles     subheads: K V · 4 B + tiles"},
      {"runs-out", "Where it runs out",
       "The largest E whose kernel still fits the device's shared memory, from the kernel table. A subhead's "
       "memory "
       "does not depend on E.",
       ""},
      {"production", "Production kernels",
       "The fastest kernels for the device: state in registers, V cut into tiles, chunks of tokens where "
       "they pay. "
       "They are subhead kernels too; what they need in shared memory is only their tiles.",
       ""},
      {"throughput", "Throughput",
       "Tokens of the batch over the median device time of one forward pass of the recurrence alone, after "
       "its outputs "
       "were checked against the float64 reference.",
       "B T / median time"},
      {"published", "Published training rates",
       "Tables 2 and 9 of the paper: whole 400M models in training, with other kernels on other machines. "
       "Ratios "
       "compare; rates do not, and neither is measured here.",
       ""},
      {"published-recall", "Published recall",
       "Table 4 of the paper: average accuracy on FDA, SWDE and SQuAD of trained 400M models (Gated "
       "DeltaNet, and GLA "
       "for the other rules). Not measured here.",
       ""},
      {"dilution", "Attention dilution",
       "Reading with a stored key returns its value and, unless keys are orthogonal, a share of every other "
       "value. "
       "Longer keys are nearer to orthogonal.",
       "o_j = v_j + Σ_{i≠j} (q_j k_iᵀ) v_i        (eq 7)"},
      {"gram", "Gram matrix of the keys",
       "How alike the keys of the stored pairs are, the mean over their subkeys. White or black off the "
       "diagonal means "
       "orthogonal: nothing leaks.",
       "G_ji = (1/E) Σ_e k_j^e · k_i^e"},
      {"cosine", "Cosines", "Off-diagonal entries of the Gram matrix, each pair once.", "G_ji, i < j"},
      {"interference", "Interference",
       "What leaks into a read-out, mean over the stored keys, three draws each. The dashed line is the "
       "expectation "
       "for independent isotropic subkeys only: expanding random keys gains far less, which is why W^exp is "
       "trained.",
       "I_j = Σ_{i≠j} G_ji²      independent: (n − 1) / (E K)"},
      {"recall", "Recall@1",
       "n tokens write pairs, n tokens read them back with the same keys and leave the state alone: the "
       "share of "
       "read-outs whose nearest stored value is the right one. Run on the device. Dashed, for rules that "
       "only add: "
       "what chance gives for independent keys; the delta rule replaces instead and has no such "
       "estimate.",
       "argmax_i ⟨o_j, v_i⟩ = j"},
      {"keys", "Keys",
       "Independent: every subkey drawn on its own. Linear, SiLU: one random key a pair, expanded by a "
       "random matrix. "
       "File: the k of a captured run. They differ, and that difference is what training must win.",
       ""},
      {"captured", "Captured keys",
       "A safetensors file with a tensor k [B, T, H, E, K], as `statescope run` reads them; or the folder of "
       "a "
       "checkpoint (config.json, model.safetensors), whose recurrence then receives the keys of a text, byte "
       "by byte, "
       "or of random tokens. Batch row 0, head 0, each subkey scaled to length 1.",
       ""},
      {"pairs", "Stored pairs n", "Keys in the Gram matrix and its histogram.", ""},
      {"capture", "Capture",
       "Everything that profiling found on one machine: every run and launch, resources, ceilings, code, the "
       "timeline. One file that any other machine opens. Sizes, rule and devices are Explore's.",
       ""},
      {"profile-sizes", "Sizes", "As set under Explore; what is not set there is the device's default.", ""},
      {"pass", "Pass",
       "Forward over a sequence, its gradients, or one token with the state in place (decoding).", ""},
      {"open-capture", "Open a capture",
       "A file that this program wrote here or elsewhere (statescope profile --output). Type its path (Tab "
       "completes), or drop the file on the window.",
       ""},
      {"save-capture", "Save",
       "Into the working directory: the capture itself, its timeline for Perfetto or Chrome, or the table of "
       "kernels as CSV.",
       ""},
      {"baseline", "Baseline",
       "Another capture of the same kernels, before a change. A file that is dropped here opens as the "
       "baseline.",
       ""},
      {"keep-baseline", "Keep this", "What is shown becomes the baseline: change something, profile again.",
       ""},
      {"threshold", "Threshold",
       "A kernel counts as slower or faster when its median moved by more than this and the intervals of "
       "both "
       "medians are apart by half of it. Otherwise it is noise.",
       ""},
      {"ratio", "Ratio to the baseline",
       "Median now over median then. The bar runs between the ends of both 99.9 % intervals: from now's low "
       "over "
       "then's high to now's high over then's low. Shaded: the threshold.",
       "now / baseline"},
      {"ceilings", "Measured ceilings",
       "What this device itself reached: bytes of a large copy, read and written; float32 multiply-adds; "
       "16-bit "
       "matrix units where it has them.",
       ""},
      {"timeline", "Timeline",
       "Lanes of host threads, Vulkan queues and CUDA streams on one clock. Launches have the colour of "
       "their "
       "series. A lane whose clock says estimated was laid back to back.",
       ""},
      {"kernels", "Kernels",
       "Runs by the time that they took; under a run its launches, where there are several. A click on a "
       "heading "
       "sorts.",
       ""},
      {"calls", "Calls", "How often it was timed.", ""},
      {"total", "Total", "Device time of all calls together.", ""},
      {"share", "Share", "Of the time that all kernels of the capture took on that device.", ""},
      {"median", "Median", "Half of the calls took less.", ""},
      {"p95", "95th percentile", "Nineteen of twenty calls took less.", ""},
      {"flops", "Operations a second", "Those that the form needs, over the median time.", "flop / median"},
      {"bytes", "Bytes a second",
       "Those that must move at least, inputs once and outputs once, over the median time.",
       "bytes / median"},
      {"ceiling", "Of the ceiling",
       "The larger of two shares: of the units' measured rate and of the measured copy.", ""},
      {"resources", "Resources", "What one launch takes of a multiprocessor.", ""},
      {"predicted", "Predicted", "From the kernel table, without asking the device.", ""},
      {"reported", "Reported", "By the compiler or the driver. A dash: it does not say.", ""},
      {"resource-shared", "Shared memory", "Of one workgroup. ✓: the driver reports what the table says.",
       ""},
      {"resource-registers", "Registers", "Of one thread, as the compiler reports them.", ""},
      {"resource-spills", "Spilled", "Memory of a thread for values that found no register.", ""},
      {"occupancy", "Occupancy",
       "Threads that are resident at once, over the most that a multiprocessor holds.", "resident / most"},
      {"limited-by", "Limited by", "What keeps another workgroup from being resident.", ""},
      {"launch", "Launch", "Workgroups in each direction, and threads of one.", ""},
      {"errors", "Errors",
       "Of each output against the float64 reference: RMS of the difference over RMS of the reference. A "
       "kernel "
       "past its tolerance is not timed.",
       "RMS(x − ref) / RMS(ref)"},
      {"code", "Code",
       "SPIR-V as it was given to the driver, what the driver reports of its own, SASS where cuobjdump was "
       "found.",
       ""},
      {"shader", "Edited shader",
       "A file of --shader-dir that is saved is compiled, held against the float64 reference and timed at "
       "once, "
       "beside the kernel that was built in. It then runs in the whole app until the app ends.",
       ""},
      {"roofline", "Roofline",
       "What the device could reach at a kernel's intensity, by its own measured ceilings: memory on the "
       "slope, "
       "its units on the flat part.",
       "min(copy · intensity, units)"},
      {"state-model", "Model",
       "A layer with random weights, or the folder of a checkpoint. What random weights do is not what "
       "trained "
       "ones do; the decays of retnet are fixed and the same in both.",
       ""},
      {"state-text", "Input",
       "A text file, read byte by byte and again from its start. Empty: newlines, the papers' probe, under "
       "which "
       "nothing new is ever said.",
       ""},
      {"state-run", "Recording",
       "The whole input runs through the model, first as it is and then with each mitigation. After every "
       "interval the state of each head is read back.",
       ""},
      {"state-tokens", "Tokens", "Of the whole input.", ""},
      {"trained", "Training length",
       "Tokens of the sequences that the model was trained on. Collapse is what comes after it.", ""},
      {"state-quantity", "State of a head",
       "Over all of its elements, subheads together: the norm per element (root mean square), the mean, the "
       "variance.",
       "√(Σ S² / (E K V)),  Σ S / (E K V),  Σ (S − mean)² / (E K V)"},
      {"state-layer", "Layer", "Whose heads are drawn.", ""},
      {"state-open", "Open a recording",
       "What statescope collapse --json wrote, here or on another machine. Several, separated by ;, stand "
       "side by "
       "side. A file that is dropped on the window opens too.",
       ""},
      {"mitigation", "No mitigation", "The model as it is.", ""},
      {"forget-more", "Forget more", "Every decay a little stronger, every key shorter. Needs no training.",
       "α ← 0.9999 α,  k ← 0.75 k"},
      {"window", "Window",
       "Only the last r tokens: what is older is taken out of the state again, exactly. Needs a scalar decay "
       "and E = 1. Here r is the training length.",
       "S_t − (Π_{s=t−r+1..t} α_s) S_{t−r}"},
      {"normalise", "Normalise",
       "A state that is longer than p is shortened to p after every token. Here p is the largest norm that "
       "the "
       "run without a mitigation has within the training length.",
       "S ← S p / |S|  where |S| > p"},
      {"loss", "Loss", "−log of the probability that the model gives the next token, mean over an interval.",
       "−log p(x_{t+1})"},
      {"half-life", "Half-life",
       "Tokens after which a head has forgotten half, by its mean decay so far. Hatched: more than 99.7 % is "
       "left "
       "after the training length; such a head never forgets.",
       "ln 2 / mean(−g)"},
      {"collapse", "State collapse",
       "A head has collapsed when the variance of its state past the training length exceeds ten times the "
       "largest within; the loss, when it exceeds twice.",
       ""},
      {"state", "State of a layer", "Elements that a layer carries from token to token, for one sequence.",
       "E H K V"},
      {"context", "Transformer-equivalent context",
       "Context at which a Transformer's key-value cache holds as many elements, on average over the tokens.",
       "2 E K V / (K + V)"},
      {"parameters", "Parameters",
       "Of a whole 400M model (D 1024, H 8, K = V = 128, 24 layers) at this E, counted tensor by tensor. "
       "Growing every "
       "head's projection costs E times W_q and W_k; expanding head by head costs far less.",
       "W_q: naive E ×        head-wise (1 + E / H) ×        (table 1)"},
  };
  return kTerms;
}

const Term& term(std::string_view key) {
  const auto all = terms();
  const auto found = std::find_if(all.begin(), all.end(), [&](const Term& t) { return t.key == key; });
  if (found == all.end()) throw std::logic_error("no help for '" + std::string(key) + "'");
  return *found;
}

}  // namespace statescope::gui

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
       "read-outs whose nearest stored value is the right one. Run on the device.",
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

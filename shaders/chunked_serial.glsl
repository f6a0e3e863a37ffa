// How the serial kernels with cooperative matrices (chunked_states_matrix.comp, chunked_reverse_matrix.comp) move what is neither a row
// of q or k nor a gate.

// The tiles on and below the diagonal of a chunk's square. Above it the last of its row once more, which nobody reads.
#define FETCH_TRIANGLE(fetched, buffer_)    \
  FETCH(fetched, CHUNK, CHUNK_PACKS,        \
        buffer_.data[(part * CHUNK + row) * CHUNK_PACKS + min(pack, (row / TILE + 1) * LINE - 1)])

// `count` packs of the team's cells to a buffer, a few at a time; `cell_` is where the i-th lies.
const uint COPIES = 4;
#define COPY_OUT(count, buffer_, first, cell_)                                        \
  for (uint i_ = lane; i_ < (count); i_ += COPIES * TEAM_SIZE) {                      \
    const bool even = (count) % (COPIES * TEAM_SIZE) == 0;                            \
    Pack copied[COPIES];                                                              \
    UNROLLED for (uint m_ = 0; m_ < COPIES; ++m_) {                                   \
      const uint i = i_ + m_ * TEAM_SIZE;                                             \
      if (even || i < (count)) copied[m_] = pack_of(own_cells[cell_]);                \
    }                                                                                 \
    UNROLLED for (uint m_ = 0; m_ < COPIES; ++m_) {                                   \
      const uint i = i_ + m_ * TEAM_SIZE;                                             \
      if (even || i < (count)) buffer_.data[(first) + i] = copied[m_];                \
    }                                                                                 \
  }

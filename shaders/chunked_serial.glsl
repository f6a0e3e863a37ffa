// How the serial kernels with cooperative matrices (chunked_states_matrix.comp, chunked_reverse_matrix.comp) share out a state and a
// chunk, and move what is neither a row of q or k nor a gate.
layout(constant_id = 14) const uint SHARES = 1;  // teams that carry 16 columns of V
const uint GROUPS = TEAMS / SHARES;              // of such teams
const uint ALL_ROW_TILES = CHUNK / TILE;
// A share's: tiles of tokens and of channels, and their packs in a row.
const uint ROW_TILES = ALL_ROW_TILES / SHARES, KEY_TILES = KEY_DIM / TILE / SHARES;
const uint SHARE_TOKENS = ROW_TILES * TILE;
const uint TOKEN_PACKS = ROW_TILES * LINE, CHANNEL_PACKS = KEY_TILES * LINE;

// The n-th tile of a share's tokens: to and fro, so that the triangle's rows are shared evenly.
uint row_tile(uint share, uint n) { return n * SHARES + (n % 2 == 0 ? share : SHARES - 1 - share); }
uint token_of(uint share, uint i) { return row_tile(share, i / TILE) * TILE + i % TILE; }
uint token_pack(uint share, uint i) { return row_tile(share, i % TOKEN_PACKS / LINE) * LINE + i % LINE; }
// Whether tile t lies behind, or before, the n-th of the share, asked only where it is not the same for all.
#define AFTER_SHARE(t, n) ((t) > (n) * SHARES && (t) > row_tile(share, n))
#define BEFORE_SHARE(t, n) ((t) < (n) * SHARES + SHARES - 1 && (t) < row_tile(share, n))

// The cells of 16 columns, OWN of them: S^T, or first [16][C / PACK + 1], tokens along the rows, and then a second place.
const uint FIRST = 0, SECOND = TILE * CHUNK_STRIDE;

// What the teams of 16 columns have written to shared memory, for one another. All teams come here.
#define GROUP_BARRIER    \
  if (SHARES == 1) {     \
    TEAM_BARRIER;        \
  } else {               \
    barrier();           \
  }

// The tiles on and below the diagonal of a chunk's square. Above it the last of its row once more, which nobody reads.
#define FETCH_TRIANGLE(fetched, buffer_)    \
  FETCH(fetched, CHUNK, CHUNK_PACKS,        \
        buffer_.data[(part * CHUNK + row) * CHUNK_PACKS + min(pack, (row / TILE + 1) * LINE - 1)])

// What a team fetches, or copies, for itself.
#define TEAM_FETCHES(count) (((count) + TEAM_SIZE - 1) / TEAM_SIZE)

// `count` packs of the team's cells to a buffer, a few at a time: the i-th from `cell_` to `place_`.
const uint COPIES = 4;
#define COPY_OUT(count, buffer_, place_, cell_)                        \
  for (uint i_ = lane; i_ < (count); i_ += COPIES * TEAM_SIZE) {       \
    const bool even = (count) % (COPIES * TEAM_SIZE) == 0;             \
    Pack copied[COPIES];                                               \
    UNROLLED for (uint m_ = 0; m_ < COPIES; ++m_) {                    \
      const uint i = i_ + m_ * TEAM_SIZE;                              \
      if (even || i < (count)) copied[m_] = pack_of(own_cells[cell_]); \
    }                                                                  \
    UNROLLED for (uint m_ = 0; m_ < COPIES; ++m_) {                    \
      const uint i = i_ + m_ * TEAM_SIZE;                              \
      if (even || i < (count)) buffer_.data[place_] = copied[m_];      \
    }                                                                  \
  }

// The share's channels of the state to its cells and to a buffer [parts, V, K].
#define COPY_STATE_OUT(buffer_, part_)                                                                               \
  UNROLLED for (uint n_ = 0; n_ < steps(KEY_TILES); ++n_)                                                            \
    STORE_CELLS(s[n_], own_cells, own + first_channel / PACK + n_ * LINE, KEY_STRIDE);                               \
  TEAM_BARRIER;                                                                                                      \
  COPY_OUT(TILE * CHANNEL_PACKS, buffer_,                                                                            \
           ((part_) * value_dim + first_column + i / CHANNEL_PACKS) * KEY_PACKS + first_channel / PACK + i % CHANNEL_PACKS, \
           own + i / CHANNEL_PACKS * KEY_STRIDE + first_channel / PACK + i % CHANNEL_PACKS)

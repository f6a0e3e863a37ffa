// The rows of k and q of a chunk as operands, and its gates. Cooperative matrices take rows from shared memory, where FETCH_ROWS and
// PLACE_ROWS bring them, zero past the chunk's end: a kernel's `keys` and `queries` are Cell [C][K / PACK + 1]. Without them shared
// memory would not hold 64 rows of float32: `keys` and `queries` are the buffers themselves. Rows past the end are then the last
// row once more, so what is made of them must not count.
//
// No load that is waited for later stands behind a branch; what lies past the end is replaced where it is used. NVIDIA's driver
// waits for a branch's loads where the branch ends: the next chunk, fetched only `if` there was one, took 1,700 cycles of a step
// of 7,000, and 350 without the question.
struct Rows {
  uint first;   // pack where the chunk's first row begins
  uint stride;  // packs from row to row
  uint count;
};

Rows qk_rows(Chunk chunk, uint head, uint subhead) {
  return Rows(qk_row(chunk.begin, head, subhead) * KEY_PACKS, qk_heads * expansion * KEY_PACKS, chunk.tokens);
}

// Rows that one kernel leaves for another: [parts, C, K].
Rows part_rows(uint part) { return Rows(part * CHUNK * KEY_PACKS, KEY_PACKS, CHUNK); }

// A source of `row` for each token of a chunk, an invocation each.
#define FETCH_TOKENS(fetched, source)                               \
  UNROLLED for (uint n_ = 0; n_ < FETCHES(CHUNK, 1); ++n_) {        \
    const uint row = min(thread_index() + n_ * THREADS, CHUNK - 1); \
    fetched[n_] = source;                                           \
  }
#define PLACE_TOKENS(floats, fetched)                               \
  UNROLLED for (uint n_ = 0; n_ < FETCHES(CHUNK, 1); ++n_) {        \
    const uint row = thread_index() + n_ * THREADS;                 \
    if (row < CHUNK) floats[row] = fetched[n_];                     \
  }

#if COOPERATIVE

#define ROWS_FETCHES FETCHES(CHUNK, KEY_PACKS)
#define FETCH_ROWS(fetched, buffer_, rows) \
  FETCH(fetched, CHUNK, KEY_PACKS, buffer_.data[rows.first + min(row, rows.count - 1) * rows.stride + pack])
#define PLACE_ROWS(tile, fetched, rows)                                                              \
  UNROLLED for (uint n_ = 0; n_ < ROWS_FETCHES; ++n_) {                                              \
    const uint row = (thread_index() + n_ * THREADS) / KEY_PACKS;                                    \
    const uint pack = (thread_index() + n_ * THREADS) % KEY_PACKS;                                   \
    if (row < CHUNK) tile[row * KEY_STRIDE + pack] = row < rows.count ? cell(fetched[n_]) : Cell(0); \
  }
#define ROWS_LEFT(left, tile, rows, row, channel) LOAD_LEFT(left, tile, (row) * KEY_STRIDE + (channel) / PACK, KEY_STRIDE)
#define ROWS_RIGHT(right, tile, rows, row, channel) \
  LOAD_RIGHT(right, tile, (row) * KEY_STRIDE + (channel) / PACK, KEY_STRIDE)
#define ROWS_RIGHT_TRANSPOSED(right, tile, rows, channel, row) \
  LOAD_RIGHT_TRANSPOSED(right, tile, (row) * KEY_STRIDE + (channel) / PACK, KEY_STRIDE)

#else

#define ROWS_FETCHES 1
#define FETCH_ROWS(fetched, buffer_, rows)
#define PLACE_ROWS(tile, fetched, rows)
uint row_at(Rows rows, uint row) { return rows.first + min(row, rows.count - 1) * rows.stride; }
#define FOUR_TOKENS(tile, rows, row, pack)                                                                 \
  mat4(widen(tile[row_at(rows, row) + (pack)]), widen(tile[row_at(rows, (row) + 1) + (pack)]),             \
       widen(tile[row_at(rows, (row) + 2) + (pack)]), widen(tile[row_at(rows, (row) + 3) + (pack)]))
#define ROWS_LEFT(left, tile, rows, row, channel) left = FOUR_TOKENS(tile, rows, (row) + 4 * row4(), (channel) / PACK)
#define ROWS_RIGHT(right, tile, rows, row, channel) right = FOUR_TOKENS(tile, rows, row, (channel) / PACK + column4())
// As a tile of sums.
#define ROWS_SUM(sum, tile, rows, row, channel) sum = FOUR_TOKENS(tile, rows, (row) + 4 * row4(), (channel) / PACK + column4())
#define ROWS_RIGHT_TRANSPOSED(right, tile, rows, channel, row) \
  right = transpose(FOUR_TOKENS(tile, rows, (row) + 4 * column4(), (channel) / PACK))

#endif

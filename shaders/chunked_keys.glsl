// The rows of k and q of a chunk as operands. Cooperative matrices take them from shared memory, where FETCH_ROWS and
// PLACE_ROWS bring them, zero past the chunk's end: a kernel's `keys` and `queries` are Cell [C][K / PACK + 1]. Without them shared memory
// would not hold 64 rows of float32: `keys` and `queries` are the buffers themselves. Rows past the end are then the last
// row once more, so what is made of them must not count.
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

#if COOPERATIVE

#define FETCH_ROWS(fetched, buffer_, rows)  \
  Pack fetched[FETCHES(CHUNK, KEY_PACKS)];  \
  FETCH(fetched, CHUNK, KEY_PACKS, row < rows.count ? buffer_.data[rows.first + row * rows.stride + pack] : Pack(0))
#define PLACE_ROWS(tile, fetched) PLACE(tile, KEY_STRIDE, CHUNK, KEY_PACKS, fetched)
#define ROWS_LEFT(left, tile, rows, row, channel) LOAD_LEFT(left, tile, (row) * KEY_STRIDE + (channel) / PACK, KEY_STRIDE)
#define ROWS_RIGHT(right, tile, rows, row, channel) \
  LOAD_RIGHT(right, tile, (row) * KEY_STRIDE + (channel) / PACK, KEY_STRIDE)
#define ROWS_RIGHT_TRANSPOSED(right, tile, rows, channel, row) \
  LOAD_RIGHT_TRANSPOSED(right, tile, (row) * KEY_STRIDE + (channel) / PACK, KEY_STRIDE)

#else

#define FETCH_ROWS(fetched, buffer_, rows)
#define PLACE_ROWS(tile, fetched)
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

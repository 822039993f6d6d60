/** What a colour says: the same everywhere. */
export type Tone = 'good' | 'warn' | 'bad' | 'info' | 'neutral'

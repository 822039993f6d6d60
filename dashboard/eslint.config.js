import js from '@eslint/js'
import vue from 'eslint-plugin-vue'
import { defineConfig, globalIgnores } from 'eslint/config'
import typescript from 'typescript-eslint'

export default defineConfig(
  globalIgnores(['dist/', 'test-results/', 'playwright-report/']),
  { linterOptions: { reportUnusedDisableDirectives: 'error' } },
  {
    files: ['**/*.{ts,vue}'],
    extends: [
      js.configs.recommended,
      typescript.configs.strictTypeChecked,
      typescript.configs.stylisticTypeChecked,
      vue.configs['flat/recommended-error'],
      // Prettier lays out the templates.
      vue.configs['no-layout-rules'],
    ],
    languageOptions: {
      parserOptions: {
        parser: typescript.parser,
        project: ['tsconfig.json', 'tsconfig.node.json'],
        tsconfigRootDir: import.meta.dirname,
        extraFileExtensions: ['.vue'],
      },
    },
    rules: {
      // TypeScript knows which names exist, those of the browser and of Node included.
      'no-undef': 'off',
      // A function that is `async` and waits for nothing gives a promise: stand-ins do so in tests.
      '@typescript-eslint/require-await': 'off',
      // `() => clearTimeout(timer)` is not confusing.
      '@typescript-eslint/no-confusing-void-expression': 'off',
      // An empty text counts as none with `||`, for example a name or a variable of the environment.
      '@typescript-eslint/prefer-nullish-coalescing': [
        'error',
        { ignorePrimitives: { string: true } },
      ],
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
    },
  },
)

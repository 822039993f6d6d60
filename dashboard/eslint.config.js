import js from '@eslint/js'
import vue from 'eslint-plugin-vue'
import { defineConfig, globalIgnores } from 'eslint/config'
import typescript from 'typescript-eslint'

export default defineConfig(
  globalIgnores(['dist/', 'test-results/', 'playwright-report/', 'src/api/schema.d.ts']),
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
      // TypeScript knows which names exist, names of the browser and of Node included.
      'no-undef': 'off',
      // In tests, stand-ins for the API are `async` only to give a promise.
      '@typescript-eslint/require-await': 'off',
      // `() => clearTimeout(timer)` is not confusing.
      '@typescript-eslint/no-confusing-void-expression': 'off',
      // `||` takes an empty text for a missing text, for example in an environment
      // variable.
      '@typescript-eslint/prefer-nullish-coalescing': [
        'error',
        { ignorePrimitives: { string: true } },
      ],
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
    },
  },
)

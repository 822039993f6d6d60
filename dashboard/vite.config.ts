import vue from '@vitejs/plugin-vue'
import { defineConfig } from 'vitest/config'

export default defineConfig({
  plugins: [vue()],
  // Relative, because a proxy may serve the dashboard below a path.
  base: './',
  define: {
    __VUE_OPTIONS_API__: 'false',
    __VUE_I18N_FULL_INSTALL__: 'false',
    __VUE_I18N_LEGACY_API__: 'false',
    __INTLIFY_PROD_DEVTOOLS__: 'false',
  },
  build: {
    // Each asset is a file, because the Content-Security-Policy forbids inline ones.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    // The bundle carries Vue's code, and so Vue's licence.
    license: { fileName: 'licenses.md' },
  },
  server: {
    proxy: {
      '^/(token|me|servers?|traffic|fleet|events|enrollment-codes|agent-keys|users|tokens|alerts?|alert-rules|channels|mutes|deliveries|metrics|readyz)([/?]|$)':
        'http://127.0.0.1:8080',
    },
  },
  test: {
    environment: 'happy-dom',
    include: ['test/**/*.test.ts'],
    restoreMocks: true,
    // A deadline, for machines that do other things besides.
    testTimeout: 60_000,
  },
})

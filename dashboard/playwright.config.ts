import { defineConfig } from '@playwright/test'

// Chromium's sandbox does not work for root, and containers and CI run tests as root.
const sandboxArgs = process.getuid?.() === 0 ? ['--no-sandbox'] : []

export default defineConfig({
  testDir: 'e2e',
  outputDir: 'test-results',
  // Each file has a server of its own, and mostly waits for it.
  workers: 2,
  forbidOnly: Boolean(process.env.CI),
  // The first login takes a debug build seconds, because bcrypt is slow by design.
  timeout: 60_000,
  expect: { timeout: 15_000 },
  reporter: 'list',
  use: {
    viewport: { width: 1360, height: 800 },
    screenshot: 'only-on-failure',
    trace: 'retain-on-failure',
    launchOptions: {
      executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
      args: [
        ...sandboxArgs,
        '--disable-gpu',
        '--disable-quic',
        '--no-first-run',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
      ],
    },
  },
})

import { createApp } from 'vue'
// First, so that the components' own styles come after and win.
import './styles/base.css'
import './styles/kit.css'
import App from './App.vue'
import { setLanguage, wantedLanguage } from './i18n'
import { makeRouter } from './router'

async function start() {
  const language = wantedLanguage(localStorage, navigator.languages)
  // A language that cannot be loaded leaves English.
  await setLanguage(language).catch(() => undefined)
  createApp(App).use(makeRouter()).mount('#app')
}

void start()

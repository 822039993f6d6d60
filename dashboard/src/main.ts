import { createApp } from 'vue'
// First, so that the components' own rules come after and win.
import './styles/base.css'
import App from './App.vue'

createApp(App).mount('#app')

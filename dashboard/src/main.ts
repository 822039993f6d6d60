import { createApp } from 'vue'
// First, so that the components' own styles come after and win.
import './styles/base.css'
import App from './App.vue'

createApp(App).mount('#app')
